"""LDA's losses against torch.distributions and the plain formulas."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from passerby.losses.latent import (
    FLOOR,
    LatentDistribution,
    alignment_loss,
    consistency_loss,
    gaussian_kl,
)


def gaussians(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return mean, 0.1 + torch.rand(*shape, generator=generator, dtype=torch.float64)


def by_torch(mean: Tensor, variance: Tensor, latent: tuple[Tensor, Tensor]) -> Tensor:
    return kl_divergence(Normal(mean, variance.sqrt()), Normal(latent[0], latent[1].sqrt()))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(-4, 3), st.floats(-4, 3))
def test_kl_is_that_of_torch(seed: int, exponent: float, of_exponent: float) -> None:
    mean, variance = gaussians(3, 4, seed=seed)
    latent = gaussians(4, seed=seed + 1)
    variance, latent = variance * 10**exponent, (latent[0], latent[1] * 10**of_exponent)
    ours = gaussian_kl(mean, variance, *latent, floor=1e-12)
    torch.testing.assert_close(ours, by_torch(mean, variance, latent).mean(-1), rtol=1e-9, atol=1e-12)
    assert ours.min() >= -1e-12


def test_kl_of_variances_that_vanish_is_finite_and_so_are_its_gradients() -> None:
    for own, other in ((0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1e-30, 1e-30)):
        mean = torch.tensor([[0.5]], requires_grad=True)
        variance = torch.tensor([[own]], requires_grad=True)
        value = gaussian_kl(mean, variance, torch.zeros(1), torch.tensor([other]))
        floored = by_torch(mean, variance.clamp(min=FLOOR), (torch.zeros(1), torch.tensor([max(other, FLOOR)])))
        torch.testing.assert_close(value, floored.mean(-1), rtol=1e-4, atol=1e-4)
        for gradient in torch.autograd.grad(value.sum(), (mean, variance)):
            assert gradient.isfinite().all()


def test_kl_is_float32_under_autocast() -> None:
    mean, variance = (value.bfloat16() for value in gaussians(2, 3))
    with torch.autocast("cpu", torch.bfloat16):
        value = gaussian_kl(mean, variance, mean[0], variance[0])
    assert value.dtype == torch.float32


def test_the_latent_distribution_has_the_moments_of_the_mixture() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = [(k + 1) * torch.randn(1000, 2, generator=generator).double() + 3 * k for k in range(3)]
    mean = torch.stack([s.mean(0) for s in samples])
    variance = torch.stack([s.var(0, correction=0) for s in samples])
    latent = LatentDistribution(3, 2).double()
    latent.observe(mean, variance, torch.tensor([True, True, True]))
    everyone = torch.cat(samples)
    torch.testing.assert_close(latent(), (everyone.mean(0), everyone.var(0, correction=0)))


def test_the_estimate_runs_and_a_domain_that_is_absent_stays() -> None:
    latent = LatentDistribution(2, 1, momentum=0.4)
    for step, seen in enumerate(([True, False], [True, True], [True, False], [True, False])):
        latent.observe(torch.full((2, 1), float(step)), torch.full((2, 1), 2.0 + step), torch.tensor(seen))
    # Domain 0: 0, then the even mean of 0 and 1, then 0.6 of that and 0.4 of 2, ...; domain 1 was seen once.
    torch.testing.assert_close(latent.mean, torch.tensor([[0.6 * (0.6 * 0.5 + 0.4 * 2) + 0.4 * 3], [1.0]]))
    torch.testing.assert_close(latent.variance[1], torch.tensor([3.0]))
    assert latent.batches.tolist() == [4, 1]
    restored = LatentDistribution(2, 1)
    restored.load_state_dict(latent.state_dict())
    assert torch.equal(restored()[0], latent()[0])
    assert not any(value.requires_grad for value in latent())


def test_before_a_domain_is_seen_it_does_not_count() -> None:
    latent = LatentDistribution(2, 3)
    mean, variance = gaussians(2, 3)
    latent.observe(mean, variance, torch.tensor([False, True]))
    torch.testing.assert_close(latent(), (mean[1].float(), variance[1].float()))


def test_consistency_is_the_mean_over_the_domains_that_count() -> None:
    mean, variance = (value.requires_grad_() for value in gaussians(3, 4))
    latent = gaussians(4, seed=1)
    seen = torch.tensor([True, False, True])
    loss = consistency_loss(mean, variance, seen, latent)
    torch.testing.assert_close(loss, by_torch(mean, variance, latent).mean(1)[seen].mean())
    for gradient in torch.autograd.grad(loss, (mean, variance)):
        assert gradient[seen].abs().min() > 0
        assert gradient[1].abs().max() == 0
    none = consistency_loss(mean, variance, torch.zeros(3, dtype=torch.bool), latent)
    assert float(none.detach()) == 0
    assert torch.autograd.grad(none, mean)[0].abs().max() == 0


def test_before_anything_was_seen_consistency_is_0_and_so_are_its_gradients() -> None:
    mean, variance = (value.float().requires_grad_() for value in gaussians(3, 4))
    loss = consistency_loss(mean, variance, torch.zeros(3, dtype=torch.bool), LatentDistribution(3, 4)())
    assert float(loss.detach()) == 0
    for gradient in torch.autograd.grad(loss, (mean, variance)):
        assert gradient.eq(0).all()


def test_alignment_is_the_mean_over_images_of_their_own_moments() -> None:
    maps = torch.randn(5, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    latent = gaussians(4, seed=1)
    plain = [by_torch(m.mean((1, 2)), m.var((1, 2), correction=0), latent).mean() for m in maps]
    loss = alignment_loss(maps.mean((2, 3)), maps.var((2, 3), correction=0), latent)
    torch.testing.assert_close(loss, torch.stack(plain).mean())
    (gradient,) = torch.autograd.grad(loss, maps)
    assert gradient.abs().sum((1, 2, 3)).min() > 0
