"""LDA's latent distribution, and the losses that hold domains and images to it."""

import torch
from torch import Tensor, nn

FLOOR = 1e-3
"""Smallest variance that a divergence counts with. Channels of MobileNetV2's last map have variances of 0.07 and more; one that is
dead in the latent distribution and awake in an image would count for a thousand others otherwise."""


def gaussian_kl(mean: Tensor, variance: Tensor, of_mean: Tensor, of_variance: Tensor, floor: float = FLOOR) -> Tensor:
    """KL(N(mean, variance) || N(of_mean, of_variance)) of diagonal Gaussians, the mean over channels.

    Each channel: (log(of_variance / variance) + (variance + (mean - of_mean)^2) / of_variance - 1) / 2. (The divergence of the
    joint distribution is the sum over C channels; the mean does not depend on the network's width.)

    Args:
        mean: float [..., C]; computed in float32 at least, under autocast too.
        variance: float [..., C]; what is smaller than `floor` counts as that.
        of_mean: float, broadcast to [..., C].
        of_variance: float, likewise.
        floor: see `variance`.

    Returns:
        [...].
    """
    wide = torch.promote_types(mean.dtype, torch.float32)
    own, latent = (values.to(wide).clamp(min=floor) for values in (variance, of_variance))
    away = (mean.to(wide) - of_mean.to(wide)).square()
    ratio = own / latent
    return (ratio - 1 - ratio.log() + away / latent).mean(-1) / 2


class LatentDistribution(nn.Module):
    """The latent distribution of LDA (Nie et al.'s poster), a running estimate without gradient.

    Of each channel it is the Gaussian with the moments of the mixture of the K experts' output distributions: mu = mean over k of
    mu_k, var = mean over k of (var_k + mu_k^2) - mu^2. The poster says that it is made of the experts' output statistics; the
    moment matching, and what is kept (each domain's statistics, so that a domain's absence from a batch does not shift
    it), are ours.

    Attributes:
        mean, variance: buffers [K, C], of each domain's expert at the network's last map.
        batches: buffer int64 [K], batches that each domain was seen in.
        momentum: weight of a new batch; the first batches of a domain are averaged evenly.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, domains: int, channels: int, momentum: float = 0.1) -> None:
        """Empty: nothing was seen."""
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(domains, channels))
        self.register_buffer("variance", torch.ones(domains, channels))
        self.register_buffer("batches", torch.zeros(domains, dtype=torch.long))

    @torch.no_grad()
    def observe(self, mean: Tensor, variance: Tensor, seen: Tensor) -> None:
        """Moves towards a batch's statistics.

        Args:
            mean: [K, C], of each domain over the images of all processes.
            variance: [K, C].
            seen: bool [K], the domains that the batch says something of.
        """
        self.batches += seen
        weight = (seen * (1 / self.batches.clamp(min=1)).clamp(min=self.momentum))[:, None].to(self.mean.dtype)
        self.mean.lerp_(mean.to(self.mean.dtype), weight)
        self.variance.lerp_(variance.to(self.mean.dtype), weight)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Mean and variance [C] of the latent distribution, of the domains that were seen."""
        seen = self.batches > 0
        mean, variance = self.mean[seen], self.variance[seen]
        centre = mean.mean(0)
        return centre, (variance + (mean - centre).square()).mean(0)


def consistency_loss(mean: Tensor, variance: Tensor, seen: Tensor, latent: tuple[Tensor, Tensor]) -> Tensor:
    """L_consis: the experts' output distributions held to the latent one (Nie et al., "LDA"; the form is ours).

    Mean over domains of KL(N(mu_k, var_k) || latent).

    Args:
        mean: float [K, C], of each domain over the images and places of a batch.
        variance: float [K, C].
        seen: bool [K], the domains that count.
        latent: mean and variance [C].

    Returns:
        scalar; zero, with zero gradients, when no domain counts.
    """
    if not bool(seen.any()):
        # The latent distribution may be empty still, and 0 times what comes of it is not a number.
        return 0 * (mean.sum() + variance.sum())
    return gaussian_kl(mean[seen], variance[seen], *latent).mean()


def alignment_loss(mean: Tensor, variance: Tensor, latent: tuple[Tensor, Tensor]) -> Tensor:
    """L_align: each image's instance statistics held to the latent distribution (Nie et al., "LDA"; the form is ours).

    Mean over images of KL(N(mu_i, var_i) || latent), with the moments of image i's map over places.

    Args:
        mean: float [N, C].
        variance: float [N, C].
        latent: mean and variance [C].

    Returns:
        scalar.
    """
    return gaussian_kl(mean, variance, *latent).mean()
