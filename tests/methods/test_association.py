"""Positive pairs: the exact assignment, within a video, from the frame with fewer people."""

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from passerby.errors import PasserbyError
from passerby.methods.association import mine_pairs


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=3), seed=st.integers(0, 99)
)
def test_it_is_the_best_of_all_assignments(counts: list[tuple[int, int]], seed: int) -> None:
    video = torch.tensor([v for v, pair in enumerate(counts) for n in pair for _ in range(n)], dtype=torch.int64)
    frame = torch.tensor([f for pair in counts for f, n in enumerate(pair) for _ in range(n)], dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(video), generator=generator)
    video, frame = video[order], frame[order]
    features = F.normalize(torch.randn(len(video), 3, generator=generator))
    pairs = mine_pairs(features, video, frame)
    cosine = features @ features.T
    assert len(pairs.anchor) == sum(min(pair) for pair in counts)
    assert torch.equal(video[pairs.anchor], video[pairs.positive])
    assert bool((frame[pairs.anchor] != frame[pairs.positive]).all())
    for v, (m, n) in enumerate(counts):
        mine = video[pairs.anchor] == v
        assert pairs.anchor[mine].unique().numel() == pairs.positive[mine].unique().numel() == min(m, n)
        sides = [((video == v) & (frame == f)).nonzero()[:, 0] for f in (0, 1)]
        few, many = sides if m <= n else sides[::-1]
        best = max(
            (
                sum(float(cosine[i, j]) for i, j in zip(few, chosen, strict=True))
                for chosen in permutations(many, len(few))
            ),
            default=0.0,
        )
        assert float(cosine[pairs.anchor[mine], pairs.positive[mine]].sum()) == pytest.approx(best, abs=1e-5)
        if min(m, n):
            assert set(pairs.anchor[mine].tolist()) == set(few.tolist())


def test_three_frames_of_a_video_make_three_pairs_of_frames() -> None:
    people = F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(1)))
    features = people.repeat(3, 1)
    frame = torch.arange(3).repeat_interleave(3)
    pairs = mine_pairs(features, torch.zeros(9, dtype=torch.int64), frame)
    assert len(pairs.anchor) == 9
    assert torch.equal(pairs.anchor % 3, pairs.positive % 3)  # everybody is found again
    met = {(int(a), int(b)) for a, b in zip(frame[pairs.anchor], frame[pairs.positive], strict=True)}
    assert met == {(0, 1), (0, 2), (1, 2)}


def test_no_pairs_and_no_numbers() -> None:
    alone = mine_pairs(torch.eye(3), torch.arange(3), torch.zeros(3, dtype=torch.int64))
    assert len(alone.anchor) == len(alone.positive) == 0
    with pytest.raises(PasserbyError, match="not finite"):
        mine_pairs(torch.full((2, 2), torch.nan), torch.zeros(2, dtype=torch.int64), torch.arange(2))


def test_it_leaves_no_graph() -> None:
    features = torch.randn(4, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        pairs = mine_pairs(F.normalize(features), torch.zeros(4, dtype=torch.int64), torch.tensor([0, 0, 1, 1]))
    assert pairs.anchor.dtype == torch.int64
    assert not pairs.anchor.requires_grad
