"""What the norm layers share: an affine, running statistics, and taking over a pretrained batch norm."""

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from passerby.errors import PasserbyError
from passerby.models.norm.algebra import Statistics, batch_statistics
from passerby.models.norm.primitive import normalise


class AffineNorm2d(nn.Module, ABC):
    """Base of the norms that can stand in the place of torch's BatchNorm2d; a subclass writes `algebra`.

    Attributes:
        weight, bias: [C], the affine.
        running_mean, running_var, num_batches_tracked: buffers as torch's BatchNorm keeps them.
        eps: added to a variance.
        momentum: weight of a new batch in the running statistics; None averages all batches evenly.
        hold_statistics: batches leave the running statistics alone.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        """Affine 1 and 0, running statistics 0 and 1."""
        super().__init__()
        self.eps, self.momentum, self.hold_statistics = eps, momentum, False
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> Self:
        """A layer in the place of `norm`, with its very parameters and buffers.

        Raises:
            PasserbyError: when it has no affine or no running statistics.
        """
        if norm.weight is None or norm.running_mean is None:
            raise PasserbyError(
                "models.norm: a batch norm without affine or running statistics has nothing to take over; leave it out"
            )
        layer = cls(norm.num_features, norm.eps, norm.momentum)
        layer.weight, layer.bias = norm.weight, norm.bias
        for buffer in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(layer, buffer, getattr(norm, buffer))
        return layer.to(norm.weight).train(norm.training)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalises maps [N, C, h, w]."""
        y, *observed = normalise(maps, self.algebra, *self.parameters(recurse=False))
        if observed and self.training and not self.hold_statistics:
            self._observe(Statistics(*observed), maps.shape[2] * maps.shape[3])
        return y

    @abstractmethod
    def algebra(self, mean: Tensor, variance: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        """Scale and shift of the maps, from their moments [N, C] and the layer's parameters in their order.

        What else it returns are the `statistics` that it used, if any: in training the running ones follow them.
        """

    def statistics(self, mean: Tensor, variance: Tensor) -> Statistics:
        """What a batch norm normalises by: in training the batch's own statistics, else the running ones.

        Args:
            mean: [N, C], of each image over places.
            variance: [N, C], biased.
        """
        if self.training:
            return batch_statistics(mean, variance)
        return Statistics(self.running_mean, self.running_var, mean.new_zeros(()))

    @torch.no_grad()
    def _observe(self, batch: Statistics, places: int) -> None:
        """Moves the running statistics towards a batch's; its variance is made unbiased, as torch's BatchNorm does."""
        self.num_batches_tracked += 1
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        values = batch.images * places
        self.running_mean.lerp_(batch.mean.to(self.running_mean.dtype), weight)
        unbiased = batch.variance * (values / (values - 1).clamp(min=1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), weight)
