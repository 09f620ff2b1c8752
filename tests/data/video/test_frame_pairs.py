"""Super frames: what the paper says of them, on shots of every shape."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from passerby.data.video.frame_pairs import FramePairSettings, FramePlan, ShotFrames
from passerby.errors import PasserbyError

times = st.lists(st.integers(0, 400), min_size=0, max_size=12, unique=True).map(lambda t: [x / 7 for x in sorted(t)])


@st.composite
def shots(draw: st.DrawFn) -> list[ShotFrames]:
    found = []
    for _ in range(draw(st.integers(1, 7))):
        row = draw(times)
        found.append(ShotFrames(row, draw(st.lists(st.integers(1, 9), min_size=len(row), max_size=len(row)))))
    return found


def can_be_drawn(shot: ShotFrames, seconds: float) -> bool:
    return any(b - a <= seconds + 1e-6 for a, b in zip(shot.times, shot.times[1:], strict=False))


@settings(max_examples=80, deadline=None)
@given(
    film=shots(),
    seconds=st.sampled_from([0.5, 4.0, 30.0]),
    frames=st.integers(2, 4),
    crops=st.sampled_from([4, 12, 80]),
    pool=st.sampled_from([1, 2, 64]),
    seed=st.integers(0, 9),
)
def test_what_a_super_frame_is(
    film: list[ShotFrames], seconds: float, frames: int, crops: int, pool: int, seed: int
) -> None:
    rule = FramePairSettings(seconds=seconds, frames=frames, crops=crops, visits=3, pool=pool)
    usable = [n for n, shot in enumerate(film) if can_be_drawn(shot, seconds)]
    if not usable:
        with pytest.raises(PasserbyError, match=r"none has two frames at most .* s apart"):
            FramePlan(film, rule, seed)
        return
    plan = FramePlan(film, rule, seed)
    assert list(plan.shots) == usable
    assert plan.crowded == sum(
        people > crops
        for n in usable
        for k, people in enumerate(film[n].crops)
        if any(0 < abs(film[n].times[k] - t) <= seconds + 1e-6 for t in film[n].times)
    )
    visited: Counter[int] = Counter()
    crops_of_steps = plan.crops(1)
    for step in range(plan.steps(1)):
        visits = plan.super_frame(1, step)
        assert len({visit.shot for visit in visits}) == len(visits)  # negatives are never the same person
        sides = np.zeros(frames, int)
        for visit in visits:
            visited[visit.shot] += 1
            shown = [film[visit.shot].times[k] for k in visit.frames]
            assert 2 <= len(set(visit.frames)) == len(visit.frames) <= frames
            assert max(shown) - min(shown) <= seconds + 1e-5
            if len(visit.frames) < frames:  # no further frame is close enough to all of them
                rest = [t for k, t in enumerate(film[visit.shot].times) if k not in visit.frames]
                assert not any(max(*shown, t) - min(*shown, t) <= seconds - 1e-9 for t in rest)
            for side, k in enumerate(visit.frames):
                sides[side] += min(crops, film[visit.shot].crops[k])
        assert sides.max() <= crops
        assert sides.sum() == crops_of_steps[step]
    assert visited == {n: 3 for n in usable}


FILM = [ShotFrames([k * 0.28 for k in range(30)], [3 + n % 4] * 30) for n in range(40)]


def everything(plan: FramePlan, epoch: int) -> list[object]:
    return [plan.super_frame(epoch, step, rank) for step in range(plan.steps(epoch)) for rank in range(plan.processes)]


def test_seed_and_epoch_decide_and_nothing_else() -> None:
    rule = FramePairSettings(pool=8)
    plan = FramePlan(FILM, rule, 5)
    first = everything(plan, 0)
    assert everything(plan, 1) != first
    assert everything(plan, 2) != first  # the first is forgotten by now
    assert everything(plan, 0) == first
    assert everything(FramePlan(FILM, rule, 5), 0) == first
    assert everything(FramePlan(FILM, rule, 6), 0) != first


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_super_frames_of_one_process(processes: int) -> None:
    rule = FramePairSettings()
    one, several = FramePlan(FILM, rule, 5), FramePlan(FILM, rule, 5, processes)
    whole = everything(one, 3)
    assert everything(several, 3) == whole[: several.steps(3) * processes]
    assert several.steps(3) == len(whole) // processes
    assert several.crops(3).sum() <= one.crops(3).sum()
    assert several.crops(3).tolist() == [
        int(c) for c in one.crops(3)[: len(several.crops(3)) * processes].reshape(-1, processes).sum(1)
    ]


def test_super_frames_are_full_and_hold_many_shots() -> None:
    plan = FramePlan(FILM, FramePairSettings(), 0)
    counts = plan.crops(0)
    assert counts[:-1].min() > 3 * 80 * 0.8
    assert counts.mean() > 3 * 80 * 0.94
    assert counts.max() <= 240
    assert len(plan.super_frame(0, 0)) >= 12


def test_groups_take_turns() -> None:
    plan = FramePlan(FILM, FramePairSettings(pool=10), 0)
    early = {visit.shot for step in range(plan.steps(0) // 5) for visit in plan.super_frame(0, step)}
    assert len(early) <= 20  # of 40 shots: two groups at most in the first fifth


def test_every_pair_of_close_frames_comes_up() -> None:
    plan = FramePlan([ShotFrames([0, 1, 2, 9, 10], [2] * 5)] * 2, FramePairSettings(frames=2, seconds=2, visits=400), 0)
    met = Counter(tuple(sorted(visit.frames)) for step in range(plan.steps(0)) for visit in plan.super_frame(0, step))
    assert set(met) == {(0, 1), (0, 2), (1, 2), (3, 4)}
    assert min(met.values()) > 100


def test_a_share_of_the_shots_grows_with_the_share() -> None:
    shots = [set(FramePlan(FILM, FramePairSettings(share=share), 4).shots) for share in (0.1, 0.5, 1.0)]
    assert [len(chosen) for chosen in shots] == [4, 20, 40]
    assert shots[0] < shots[1] < shots[2]  # a curve over the amount of film: more of it, never other film
    assert set(FramePlan(FILM, FramePairSettings(share=0.5), 5).shots) != shots[1]


def test_delta_max_beyond_every_shot_draws_from_the_whole_shot() -> None:
    film = [ShotFrames([0, 10, 20, 30.0], [2] * 4)] * 3
    plans = [FramePlan(film, FramePairSettings(seconds=seconds), 0) for seconds in (30.0, 1e300, math.inf)]
    for step in range(plans[0].steps(0)):
        frames = [plan.super_frame(0, step) for plan in plans]
        assert frames[0] == frames[1] == frames[2]
        assert all(len(set(visit.frames)) == 3 for visit in frames[0])


def test_a_single_frame_is_no_pair() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        FramePairSettings(frames=1)


def test_what_it_refuses() -> None:
    with pytest.raises(
        PasserbyError, match=r"of 2 shots none has two frames at most 4 s apart \(the closest two lie 5 s"
    ):
        FramePlan([ShotFrames([0, 5], [3, 3]), ShotFrames([1], [3])], FramePairSettings(), 0)
    with pytest.raises(PasserbyError, match=r"\(none has two frames\)"):
        FramePlan([ShotFrames([1], [3])], FramePairSettings(), 0)
    with pytest.raises(PasserbyError, match=r"too few for 40 processes; lower trainer\.devices"):
        FramePlan(FILM[:1], FramePairSettings(), 0, 40)


def test_frames_as_far_apart_as_allowed_are_drawn_whatever_times_add_up_to() -> None:
    film = [ShotFrames([0.7 * k for k in range(40)], [3] * 40) for _ in range(3)]
    plan = FramePlan(film, FramePairSettings(seconds=0.7, frames=2, visits=20), 0)
    frames = plan._draw(np.repeat(np.arange(3), 200), np.random.default_rng(0))
    assert (frames >= 0).all()
