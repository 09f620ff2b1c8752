"""Instance norm on the first half of the channels, batch norm on the others."""

import torch
from torch import Tensor

from passerby.models.norm.affine import AffineNorm2d
from passerby.models.norm.algebra import standardise


class HalfInstanceNorm2d(AffineNorm2d):
    """The norm of IBN-a (Pan et al., "Two at Once", ECCV 2018); with an odd number of channels the larger half is BN."""

    def algebra(self, mean: Tensor, variance: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        """Scales and shifts of both halves, chosen by channel."""
        weight, bias = parameters
        of_batch = self.statistics(mean, variance)
        by_image = torch.arange(len(weight), device=weight.device) < len(weight) // 2
        centre = torch.where(by_image, mean, of_batch.mean)
        spread = torch.where(by_image, variance, of_batch.variance)
        return *standardise(centre, spread, weight, bias, self.eps), *of_batch
