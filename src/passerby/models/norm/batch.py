"""Batch norm on the primitive."""

from torch import Tensor

from passerby.models.norm.affine import AffineNorm2d
from passerby.models.norm.algebra import standardise


class SyncBatchNorm2d(AffineNorm2d):
    """Batch norm (Ioffe & Szegedy, ICML 2015) over the images of all ranks, on any backend, the CPU's gloo included."""

    def algebra(self, mean: Tensor, variance: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        """One scale and one shift a channel."""
        weight, bias = parameters
        of_batch = self.statistics(mean, variance)
        return *standardise(of_batch.mean, of_batch.variance, weight, bias, self.eps), *of_batch
