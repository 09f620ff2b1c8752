"""Losses on scores against the plain formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from passerby.losses.score_pairs import PairwiseMatching
from passerby.losses.score_triplet import BatchHardScoreTriplet, Reduction


def plain_triplet(scores: Tensor, identity: Tensor, margin: float, compared: Tensor) -> tuple[float, int]:
    """Eq. 7, anchor by anchor; and how many anchors count."""
    total, counted = 0.0, 0
    for i in range(len(identity)):
        others = [j for j in range(len(identity)) if j != i and compared[i, j]]
        positive = [float(scores[i, j]) for j in others if identity[j] == identity[i]]
        negative = [float(scores[i, j]) for j in others if identity[j] != identity[i]]
        if positive and negative:
            total += max(0.0, margin - min(positive) + max(negative))
            counted += 1
    return total, counted


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0, 3), st.booleans(), st.sampled_from(["sum", "mean"]))
def test_triplet_is_equation_7(seed: int, count: int, margin: float, some: bool, reduction: Reduction) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, count, generator=generator, dtype=torch.double, requires_grad=True)
    identity = torch.randint(0, 3, (count,), generator=generator)
    compared = torch.rand(count, count, generator=generator) < 0.7 if some else torch.ones(count, count).bool()
    expected, anchors = plain_triplet(scores.detach(), identity, margin, compared)
    loss = BatchHardScoreTriplet(margin, reduction)(scores, identity, compared if some else None)
    assert float(loss) == pytest.approx(expected / (max(1, anchors) if reduction == "mean" else 1))
    loss.backward()
    assert torch.isfinite(scores.grad).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_pairs_are_binary_cross_entropy(reduction: Reduction) -> None:
    scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    identity = torch.tensor([0, 0, 1, 1, 2, 2])
    domain = torch.tensor([0, 0, 0, 0, 1, 1])
    compared = domain[:, None] == domain[None, :]

    def plain(pairs: list[tuple[int, int]]) -> float:
        return sum(
            math.log1p(math.exp(-s if identity[i] == identity[j] else s))
            for i, j in pairs
            for s in [float(scores[i, j])]
        )

    every = [(i, j) for i in range(6) for j in range(6) if i != j]
    share = 6 if reduction == "mean" else 1
    loss = PairwiseMatching(reduction)
    assert float(loss(scores, identity)) == pytest.approx(plain(every) / share)
    some = [(i, j) for i, j in every if compared[i, j]]
    assert float(loss(scores, identity, compared)) == pytest.approx(plain(some) / share)
