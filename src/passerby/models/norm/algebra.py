"""The algebra on [N, C] moments that norms share."""

from typing import NamedTuple

import torch
from torch import Tensor

from passerby.models.norm.processes import process_count, sum_over_processes


class Statistics(NamedTuple):
    """What a batch norm normalises by.

    Attributes:
        mean: [C].
        variance: [C], biased.
        images: how many images they come from, a scalar; 0 for running statistics.
    """

    mean: Tensor
    variance: Tensor
    images: Tensor


def batch_statistics(mean: Tensor, variance: Tensor) -> Statistics:
    """Mean and variance of each channel over all images of all processes.

    The variance of a batch is the mean of its images' variances plus the variance of their means. Where torch.distributed
    runs several processes, their sums are added by one all-reduce of [2 C + 1] numbers, on any backend; gradients flow
    back to every process.

    Args:
        mean: [N, C], of each image over places.
        variance: [N, C], biased.
    """
    if process_count() == 1:
        centre = mean.mean(0)  # torch.var_mean over rows takes ten times as long
        away = mean - centre
        whole = torch.addcmul(variance, away, away).mean(0)
        return Statistics(centre, whole, mean.new_tensor(float(len(mean))))
    # Sums of squares cancel in float32; of [C] numbers float64 costs nothing.
    wide = mean.double()
    sums = torch.cat([wide.sum(0), (variance + wide.square()).sum(0), wide.new_tensor([float(len(mean))])])
    sums = sum_over_processes(sums)
    images = sums[-1].detach()
    first, second = (sums[:-1] / images).chunk(2)
    return Statistics(
        first.to(mean.dtype), (second - first.square()).clamp(min=0).to(mean.dtype), images.to(mean.dtype)
    )


def standardise(mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Scale and shift of weight (x - mean) / sqrt(variance + eps) + bias; [C] or [N, C]."""
    scale = weight * torch.rsqrt(variance + eps)
    return scale, torch.addcmul(bias, scale, mean, value=-1)
