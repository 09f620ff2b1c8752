"""MetaBIN's scatter and shuffle losses against their plain formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from passerby.losses.scatter import intra_domain_scatter
from passerby.losses.shuffle import inter_domain_shuffle


def plain_scatter(features: Tensor, domain: list[int]) -> float:
    """Eq. 6, image by image."""
    units = [f / f.norm() for f in features.double()]
    total = 0.0
    for unit, own in zip(units, domain, strict=True):
        centroid = torch.stack([u for u, d in zip(units, domain, strict=True) if d == own]).mean(0)
        total += float(unit @ centroid / centroid.norm())
    return total / len(units)


def plain_shuffle(features: Tensor, identity: list[int], domain: list[int]) -> float:
    """Eq. 7, anchor by anchor."""
    points, losses = features.double(), []
    for a in range(len(points)):
        others = [float((points[a] - points[b]).norm()) for b in range(len(points)) if domain[b] != domain[a]]
        own = [
            float((points[a] - points[b]).norm())
            for b in range(len(points))
            if domain[b] == domain[a] and identity[b] != identity[a]
        ]
        if others and own:
            losses.append(math.log1p(math.exp(max(others) - min(own))))
    return sum(losses) / len(losses) if losses else 0.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=12), st.integers(0, 99))
def test_both_equal_the_plain_loops(labels: list[tuple[int, int]], seed: int) -> None:
    domain = [d for d, _ in labels]
    identity = [10 * d + i for d, i in labels]
    features = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(seed))
    scatter = intra_domain_scatter(features, torch.tensor(domain))
    shuffle = inter_domain_shuffle(features, torch.tensor(identity), torch.tensor(domain))
    assert float(scatter) == pytest.approx(plain_scatter(features, domain), abs=1e-5)
    assert float(shuffle) == pytest.approx(plain_shuffle(features, identity, domain), abs=1e-4)


def test_scatter_falls_as_a_domain_spreads() -> None:
    domain = torch.tensor([0, 0, 1, 1])
    near = torch.tensor([[1.0, 0.1], [1.0, -0.1], [0.0, 1.0], [0.1, 1.0]])
    far = torch.tensor([[1.0, 0.9], [1.0, -0.9], [0.0, 1.0], [1.5, 1.0]])
    assert intra_domain_scatter(far, domain) < intra_domain_scatter(near, domain)


def test_shuffle_falls_as_domains_mix() -> None:
    identity, domain = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[0.0, 0.0], [0.1, 0.0], [9.0, 0.0], [9.1, 0.0]])
    mixed = torch.tensor([[0.0, 0.0], [9.1, 0.0], [0.1, 0.0], [9.0, 0.0]])
    assert inter_domain_shuffle(mixed, identity, domain) < inter_domain_shuffle(apart, identity, domain)


def test_gradients_of_both_by_finite_differences() -> None:
    identity, domain = torch.tensor([0, 0, 1, 2, 2, 3]), torch.tensor([0, 0, 0, 1, 1, 1])
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for loss, plain in (
        (lambda f: intra_domain_scatter(f, domain), lambda f: plain_scatter(f, domain.tolist())),
        (
            lambda f: inter_domain_shuffle(f, identity, domain),
            lambda f: plain_shuffle(f, identity.tolist(), domain.tolist()),
        ),
    ):
        (gradient,) = torch.autograd.grad(loss(features), features)
        step = torch.zeros(6, 4, dtype=torch.float64)
        step[2, 1] = 1e-4
        slope = (plain(features.detach() + step) - plain(features.detach() - step)) / 2e-4
        assert float(gradient[2, 1]) == pytest.approx(slope, abs=1e-3)


def test_no_negatives_no_loss_and_no_gradient() -> None:
    features = torch.randn(3, 4, requires_grad=True)
    loss = inter_domain_shuffle(features, torch.tensor([0, 1, 2]), torch.tensor([0, 0, 0]))
    assert float(loss) == 0
    loss.backward()
    assert features.grad is not None
    assert float(features.grad.abs().max()) == 0
