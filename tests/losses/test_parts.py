"""BNTA's losses on parts against plain loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from passerby.losses.parts import PartMatching, part_positioning


def plain_positioning(position: Tensor) -> float:
    """Eq. 5: for each image, minus the log probability of every stripe's own place, summed; the mean over images."""
    total = 0.0
    for image in position.tolist():
        for stripe, logits in enumerate(image):
            total -= logits[stripe] - math.log(sum(math.exp(value) for value in logits))
    return total / len(position)


def plain_matching(first: Tensor, second: Tensor, part: list[int], margin: float) -> list[float]:
    """Eq. 8, pair by pair; the hardest negative is the nearest of that part among both images of all other pairs."""
    a, b, hinges = first.double(), second.double(), []
    for k, n in enumerate(part):
        anchor = a[k, n]
        positive = float((anchor - b[k, n]).norm())
        negatives = [float((anchor - side[j, n]).norm()) for j in range(len(part)) if j != k for side in (a, b)]
        hinges.append(max(0.0, margin + positive - min(negatives)))
    return hinges


def pairs(count: int, stripes: int, width: int, seed: int = 0, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = scale * torch.randn(2, count, stripes, width, generator=generator)
    return first, second, torch.randint(0, stripes, (count,), generator=generator)


@settings(max_examples=60, deadline=None)
@given(
    images=st.integers(1, 6), stripes=st.integers(1, 7), scale=st.sampled_from([0.1, 1.0, 8.0]), seed=st.integers(0, 9)
)
def test_positioning_equals_the_plain_loop(images: int, stripes: int, scale: float, seed: int) -> None:
    position = scale * torch.randn(images, stripes, stripes, generator=torch.Generator().manual_seed(seed))
    loss = part_positioning(position)
    assert loss.shape == ()
    assert float(loss) == pytest.approx(plain_positioning(position), rel=1e-4, abs=1e-5)


def test_positioning_of_certain_and_of_blind_heads() -> None:
    assert float(part_positioning(100 * torch.eye(6).expand(3, 6, 6))) == pytest.approx(0, abs=1e-6)
    assert float(part_positioning(torch.zeros(3, 6, 6))) == pytest.approx(6 * math.log(6))


def test_positioning_is_float32_under_autocast() -> None:
    position = torch.randn(4, 6, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = part_positioning(position)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(plain_positioning(position), rel=1e-5)


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(2, 9),
    stripes=st.integers(1, 6),
    width=st.integers(1, 8),
    margin=st.sampled_from([0.0, 0.3, 3.0]),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
    seed=st.integers(0, 99),
)
def test_matching_equals_the_plain_loop(
    count: int, stripes: int, width: int, margin: float, scale: float, seed: int
) -> None:
    first, second, part = pairs(count, stripes, width, seed, scale)
    hinges = plain_matching(first, second, part.tolist(), margin)
    found = {kind: PartMatching(margin, kind)(first, second, part) for kind in ("mean", "sum")}
    assert found["mean"].shape == ()
    assert float(found["sum"]) == pytest.approx(sum(hinges), rel=1e-4, abs=1e-4)
    assert float(found["mean"]) == pytest.approx(sum(hinges) / count, rel=1e-4, abs=1e-4)


def test_the_defaults_on_a_case_worked_by_hand() -> None:
    # Two stripes of one number; the pairs are alike in stripes 1 and 0.
    first = torch.tensor([[[9.0], [0.0]], [[0.5], [3.0]]])
    second = torch.tensor([[[1.0], [2.0]], [[9.0], [0.1]]])
    # Pair 0 by stripe 1: anchor 0, positive 2, negatives 3 and 0.1. Pair 1 by stripe 0: 0.5, 9, negatives 9 and 1.
    expected = ((0.3 + 2 - 0.1) + (0.3 + 8.5 - 0.5)) / 2
    assert float(PartMatching()(first, second, torch.tensor([1, 0]))) == pytest.approx(expected)


def test_the_gradient_is_that_of_the_plain_loss_and_reaches_the_paired_parts_alone() -> None:
    first, second, part = pairs(5, 3, 4, seed=3)
    part = torch.tensor([0, 0, 2, 2, 2])
    sides = [first.requires_grad_(), second.requires_grad_()]
    PartMatching(4.0, "sum")(*sides, part).backward()
    step = 1e-4
    for side, other in ((0, 1), (1, 0)):
        found = sides[side].grad
        assert found is not None
        assert not found[:, 1].any()
        for index in [(0, 0, 1), (2, 2, 3), (4, 2, 0), (1, 0, 2)]:
            values = []
            for sign in (1, -1):
                moved = sides[side].detach().double()
                moved[index] += sign * step
                both = [moved, sides[other].detach().double()][:: 1 if side == 0 else -1]
                values.append(sum(plain_matching(*both, part.tolist(), 4.0)))
            assert float(found[index]) == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-3)


def test_one_pair_gives_zero_with_zero_gradient() -> None:
    first, second = torch.randn(2, 1, 6, 4).requires_grad_().unbind()
    first.retain_grad()
    second.retain_grad()
    loss = PartMatching()(first, second, torch.tensor([3]))
    loss.backward()
    assert float(loss.detach()) == 0
    for side in (first, second):
        assert side.grad is not None
        assert not side.grad.any()


@pytest.mark.parametrize("value", [0.0, 1.0, 30.0])
def test_equal_features_have_a_finite_gradient(value: float) -> None:
    features = (value * torch.ones(2, 4, 3, 8)).requires_grad_()
    loss = PartMatching(0.3)(*features, torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.3)
    assert features.grad is not None
    assert bool(features.grad.isfinite().all())


def test_matching_is_float32_under_autocast() -> None:
    first, second, part = pairs(4, 3, 8)
    first, second = first + 100, second + 100  # in bfloat16 all distances would be lost
    expected = PartMatching()(first, second, part)
    with torch.autocast("cpu", torch.bfloat16):
        loss = PartMatching()(first, second, part)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    assert PartMatching()(first.bfloat16(), second.bfloat16(), part).dtype == torch.float32
