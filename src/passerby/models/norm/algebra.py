"""The algebra on [N, C] moments that norms share."""

import torch
import torch.distributed as dist
from torch import Tensor


def batch_statistics(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each channel over all images of all ranks.

    The variance of a batch is the mean of its images' variances plus the variance of their means. Where torch.distributed runs
    more than one rank, their sums are added by one all-reduce of [2 C + 1] numbers, on any backend; gradients flow back
    to every rank.

    Args:
        mean: [N, C], of each image over places.
        variance: [N, C], biased.

    Returns:
        mean [C], biased variance [C], and the number of images over all ranks, a scalar.
    """
    count = torch.tensor(float(len(mean)), dtype=mean.dtype, device=mean.device)
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        spread, centre = torch.var_mean(mean, 0, correction=0)
        return centre, variance.mean(0) + spread, count
    # Sums of squares cancel in float32; these are [C] numbers, float64 costs nothing.
    wide = mean.double()
    sums = torch.cat([wide.sum(0), (variance + wide.square()).sum(0), count.double()[None]])
    sums = torch.distributed.nn.functional.all_reduce(sums)
    first, second = (sums[:-1] / sums[-1]).chunk(2)
    return first.to(mean.dtype), (second - first.square()).to(mean.dtype), sums[-1].detach().to(mean.dtype)


def standardise(mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Scale and shift of weight (x - mean) / sqrt(variance + eps) + bias; [C] or [N, C]."""
    scale = weight * torch.rsqrt(variance + eps)
    return scale, bias - scale * mean
