"""Shots on their way into the shards: which stay, whom they keep, and what is counted."""

from collections import Counter

import numpy as np
import pytest

from passerby.data.video.boxes import Boxes
from passerby.data.video.look import choose
from passerby.data.video.settings import IngestSettings
from passerby.data.video.stretch import Instant, Person, finish_shot


def instants(people: list[int]) -> list[Instant]:
    return [
        Instant(7 * n, n * 0.28, tuple(Person(b"%d" % i, (i, 0, i + 8, 16)) for i in range(count)), crowded=count > 8)
        for n, count in enumerate(people)
    ]


def test_crops_tell_where_they_are_from() -> None:
    counts: Counter[str] = Counter()
    crops = finish_shot("street", 4, instants([2, 0, 1]), IngestSettings(min_people=0), counts)
    assert [c.crop.key for c in crops] == [
        "street/00004/00000000-000",
        "street/00004/00000000-001",
        "street/00004/00000014-000",
    ]
    assert [c.crop.time for c in crops] == [0, 0, 0.56]
    assert crops[1].crop.box == (1, 0, 9, 16)
    assert crops[1].jpeg == b"1"
    assert counts == Counter(shots=1, looked_at=3, detections=3, kept_shots=1, crops=3, crowded_frames=0)


@pytest.mark.parametrize(
    ("people", "dropped"),
    [
        ([5] * 9, ""),
        ([5, 0, 5, 0, 5, 0, 5, 0, 5], ""),  # the five frames that are counted are 0, 2, 4, 6, 8
        ([4, 9, 5, 9, 5, 9, 5, 9, 5], "shots_of_few"),
        ([9, 1, 1, 9], "shots_of_few"),  # frames 0, 1, 2, 2, 3
        ([9, 9], ""),
        ([0, 9, 0], "empty_shots"),
        ([9], "short_shots"),
    ],
)
def test_shots_of_few_people_are_dropped(people: list[int], dropped: str) -> None:
    counts: Counter[str] = Counter()
    crops = finish_shot("street", 0, instants(people), IngestSettings(min_people=5), counts)
    assert bool(crops) == (not dropped)
    assert {k for k in ("shots_of_few", "empty_shots", "short_shots") if counts[k]} == ({dropped} - {""})
    assert counts["kept_shots"] == (not dropped)
    assert counts["crowded_frames"] == sum(n > 8 for n in people)


def test_the_surest_people_of_a_crowd_are_kept_from_left_to_right() -> None:
    rng = np.random.default_rng(0)
    left = rng.permutation(100).astype(float) * 10
    boxes = Boxes(np.stack([left, left * 0, left + 20, left * 0 + 60], axis=1), rng.permutation(100) / 100)
    kept, crowded = choose(boxes, IngestSettings(max_people=80, score=0))
    assert crowded
    assert len(kept) == 80
    assert kept.score.min() == pytest.approx(0.2)
    assert (np.diff(kept.xyxy[:, 0]) > 0).all()
    assert not choose(kept, IngestSettings(max_people=80, score=0))[1]


def test_small_people_are_left_out() -> None:
    boxes = Boxes(np.array([[0, 0, 20, 47], [0, 0, 20, 48], [0, 0, 7, 90], [0, 0, 8, 90.0]]), np.ones(4))
    kept, crowded = choose(boxes, IngestSettings(min_height=48))
    assert sorted(map(tuple, kept.xyxy.tolist())) == [(0, 0, 8, 90), (0, 0, 20, 48)]
    assert not crowded


def test_tracklets_follow_people() -> None:
    pytest.importorskip("trackers", reason="needs the extra `tracks`")
    walking = [
        Instant(
            7 * n,
            n * 0.28,
            (
                Person(b"a", (10 + 6 * n, 10, 50 + 6 * n, 110), 0.9),
                Person(b"b", (300 - 6 * n, 10, 340 - 6 * n, 110), 0.9),
            ),
        )
        for n in range(10)
    ]
    settings = IngestSettings(min_people=0, tracker="bytetrack")
    for _ in range(2):  # numbers begin anew in every shot
        crops = finish_shot("street", 0, walking, settings, Counter())
        numbers = {name: {c.crop.tracklet for c in crops[8:] if c.jpeg == name} for name in (b"a", b"b")}
        assert sorted(map(list, numbers.values())) == [[0], [1]]
