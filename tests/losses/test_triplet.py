"""Batch-hard triplet loss against a plain double loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from passerby.losses.triplet import BatchHardTriplet, euclidean_distances


def plain(features: Tensor, identity: list[int], margin: float) -> float:
    """Hermans et al., eq. 5, anchor by anchor."""
    points, losses = features.double(), []
    for a, own in enumerate(identity):
        positives = [
            float((points[a] - points[b]).norm()) for b, other in enumerate(identity) if other == own and a != b
        ]
        negatives = [float((points[a] - points[b]).norm()) for b, other in enumerate(identity) if other != own]
        if positives and negatives:
            losses.append(max(0.0, margin + max(positives) - min(negatives)))
    return sum(losses) / len(losses) if losses else 0.0


@settings(max_examples=80, deadline=None)
@given(
    identity=st.lists(st.integers(0, 4), min_size=1, max_size=14),
    width=st.integers(1, 20),
    margin=st.sampled_from([0.0, 0.3, 2.0]),
    scale=st.sampled_from([0.1, 1.0, 20.0]),
    seed=st.integers(0, 9),
)
def test_equals_the_plain_double_loop(identity: list[int], width: int, margin: float, scale: float, seed: int) -> None:
    features = scale * torch.randn(len(identity), width, generator=torch.Generator().manual_seed(seed))
    loss = BatchHardTriplet(margin)(features, torch.tensor(identity))
    assert loss.shape == ()
    assert float(loss) == pytest.approx(plain(features, identity, margin), abs=2e-3 * scale, rel=1e-4)


def test_default_margin_on_a_case_worked_by_hand() -> None:
    features = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0], [0.0, 3.0]])
    # anchors: 5 - 2, 5 - sqrt(10), 1 - 2, 1 - 3 (to the origin) or sqrt(10), each + 0.3 and cut at 0
    expected = (3.3 + 5.3 - 10**0.5 + 0 + 0) / 4
    assert float(BatchHardTriplet()(features, torch.tensor([0, 0, 1, 1]))) == pytest.approx(expected, abs=1e-5)


def test_the_gradient_is_that_of_the_plain_loss() -> None:
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    identity = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    BatchHardTriplet(5.0)(features, identity).backward()
    found = features.grad
    assert found is not None
    step = 1e-4
    for row, column in [(0, 0), (3, 2), (7, 4)]:
        moved = features.detach().double()
        moved[row, column] += step
        up = plain(moved, identity.tolist(), 5.0)
        moved[row, column] -= 2 * step
        down = plain(moved, identity.tolist(), 5.0)
        assert float(found[row, column]) == pytest.approx((up - down) / (2 * step), abs=1e-3)


def test_identical_features_have_a_finite_gradient() -> None:
    for scale in (0.0, 1.0, 30.0):
        features = (scale * torch.ones(6, 64)).requires_grad_()
        loss = BatchHardTriplet(0.3)(features, torch.tensor([0, 0, 1, 1, 2, 2]))
        loss.backward()
        assert features.grad is not None
        assert bool(features.grad.isfinite().all())
        assert float(loss.detach()) == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize("identity", [[0, 1, 2, 3], [5, 5, 5, 5], [3]])
def test_zero_with_zero_gradient_without_positives_or_negatives(identity: list[int]) -> None:
    features = torch.randn(len(identity), 4, requires_grad=True)
    loss = BatchHardTriplet()(features, torch.tensor(identity))
    loss.backward()
    assert float(loss.detach()) == 0
    assert features.grad is not None
    assert not features.grad.any()


def test_an_image_alone_is_no_anchor_but_serves_as_negative() -> None:
    features = torch.tensor([[0.0], [1.0], [1.5]])
    loss = BatchHardTriplet(0.0)(features, torch.tensor([0, 0, 1]))
    assert float(loss) == pytest.approx((0 + 0.5) / 2)  # anchors 0: 1 - 1.5 < 0; 1: 1 - 0.5; 2 has no positive


def test_float32_under_autocast() -> None:
    features = (100 + torch.randn(8, 16)).requires_grad_()  # in bfloat16 all distances would be lost
    identity = torch.arange(8) // 2
    expected = BatchHardTriplet()(features, identity)
    with torch.autocast("cpu", torch.bfloat16):
        loss = BatchHardTriplet()(features, identity)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    loss.backward()
    assert features.grad is not None
    assert BatchHardTriplet()(features.detach().bfloat16(), identity).dtype == torch.float32


def test_distances_are_euclidean() -> None:
    features = torch.randn(20, 7, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([(row - features.double()).norm(dim=1) for row in features.double()])
    found = euclidean_distances(features)
    torch.testing.assert_close(found.double(), expected, atol=2e-3, rtol=1e-4)
    assert torch.equal(euclidean_distances(torch.zeros(3, 2)), torch.zeros(3, 3))
