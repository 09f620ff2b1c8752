"""The original batch-instance norm, with one affine after the mix."""

import torch
from torch import Tensor, nn

from passerby.models.norm.affine import AffineNorm2d
from passerby.models.norm.algebra import standardise


class OneAffineBatchInstanceNorm2d(AffineNorm2d):
    """weight (rho BN(x) + (1 - rho) IN(x)) + bias, both norms without affine (Nam & Kim, NeurIPS 2018).

    Attributes:
        gate: rho [C], 1 at the start; who trains it keeps it in [0, 1].
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        """Affine 1 and 0, every gate 1."""
        super().__init__(channels, eps, momentum)
        self.gate = nn.Parameter(torch.ones(channels))

    def algebra(self, mean: Tensor, variance: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        """The mix of both whitenings, then the affine."""
        weight, bias, gate = parameters
        of_batch = self.statistics(mean, variance)
        batch_scale, batch_shift = standardise(of_batch.mean, of_batch.variance, gate * weight, bias, self.eps)
        scale, shift = standardise(mean, variance, (1 - gate) * weight, torch.zeros_like(bias), self.eps)
        return scale + batch_scale, shift + batch_shift, *of_batch
