"""The algebra on a bank: statistics of K domains, and what of them an image is normalised by."""

from typing import NamedTuple

import torch
from torch import Tensor

from passerby.models.norm.algebra import Statistics, standardise
from passerby.models.norm.processes import process_count, sum_over_processes


class Bank(NamedTuple):
    """Population statistics of K domains.

    Attributes:
        mean: [K, C].
        variance: [K, C].
    """

    mean: Tensor
    variance: Tensor

    def pooled(self) -> tuple[Tensor, Tensor]:
        """Mean and variance [C] of all domains together, each counting alike (the moments of the mixture)."""
        mean = self.mean.mean(0)
        return mean, (self.variance + (self.mean - mean).square()).mean(0)

    def distances(self, eps: float) -> Tensor:
        """How far the domains lie from each other: root mean square over channels of Wasserstein's distance, [K, K].

        Each channel is in units of its pooled deviation, as in `nearest`.

        Args:
            eps: added to a variance.
        """
        unit = (self.pooled()[1] + eps).rsqrt()
        points = torch.cat([self.mean * unit, self.variance.sqrt() * unit], 1)
        return (points[:, None] - points).square().sum(2).div(self.mean.shape[1]).sqrt()

    def nearest(self, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
        """The domain whose Gaussians lie nearest to an image's, int64 [N].

        The distance is Wasserstein's between diagonal Gaussians, every channel in units of its pooled deviation.

        Args:
            mean: [N, C], of each image over places.
            variance: [N, C].
            eps: added to a variance.
        """
        unit = (self.pooled()[1] + eps).rsqrt()
        centre = (mean[:, None] - self.mean) * unit
        spread = (variance.clamp(min=0).sqrt()[:, None] - self.variance.sqrt()) * unit
        return (centre.square() + spread.square()).sum(2).argmin(1)


def domain_statistics(mean: Tensor, variance: Tensor, domain: Tensor, domains: int) -> Statistics:
    """Mean and variance of each channel over the images of each domain, those of all processes together.

    Args:
        mean: [N, C], of each image over places.
        variance: [N, C], biased.
        domain: int64 [N].
        domains: K.

    Returns:
        [K, C], [K, C] and the images of each domain [K, 1]; 0 for a domain without images.
    """
    member = torch.nn.functional.one_hot(domain, domains).T.to(mean.dtype)
    if process_count() == 1:
        images = member.sum(1, keepdim=True)
        share = member / images.clamp(min=1)
        centre = share @ mean
        away = mean - rows(centre, domain)
        return Statistics(centre, share @ torch.addcmul(variance, away, away), images)
    # Sums of squares cancel in float32; of [K, C] numbers float64 costs little.
    wide = mean.double()
    ones = wide.new_ones(len(domain), 1)
    sums = sum_over_processes(member.double() @ torch.cat([wide, variance + wide.square(), ones], 1))
    channels = mean.shape[1]
    images = sums[:, 2 * channels :].detach()
    first, second = (sums[:, : 2 * channels] / images.clamp(min=1)).chunk(2, 1)
    return Statistics(
        first.to(mean.dtype), (second - first.square()).clamp(min=0).to(mean.dtype), images.to(mean.dtype)
    )


def by_running(bank: Bank, domain: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Scale and shift by the running statistics of each image's domain, [N, C]; of an unknown domain their mean, [C].

    Args:
        bank: of K domains.
        domain: int64 [N], or None.
        weight: of the affine, [C] or [K, C].
        bias: likewise.
        eps: added to a variance.
    """
    scale, shift = standardise(*bank, weight, bias, eps)
    return rows(scale, domain), rows(shift, domain)


def rows(table: Tensor, index: Tensor | None) -> Tensor:
    """The row of each image, [K, C] -> [N, C]; without `index` the mean of all rows, [C]. What has no rows stays as it is.

    Args:
        table: [K, C], or [C] that all share.
        index: int64 [N].
    """
    if table.ndim == 1:
        return table
    # Its backward is one pass, and deterministic on a GPU too.
    return table.mean(0) if index is None else torch.nn.functional.embedding(index, table)
