"""Instance norm."""

from torch import Tensor

from passerby.models.norm.affine import AffineNorm2d
from passerby.models.norm.algebra import standardise


class InstanceNorm2d(AffineNorm2d):
    """Each map normalised by its own moments (Ulyanov et al., 2016), with an affine; the running statistics rest."""

    def algebra(self, mean: Tensor, variance: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        """One scale and one shift a map."""
        weight, bias = parameters
        return standardise(mean, variance, weight, bias, self.eps)
