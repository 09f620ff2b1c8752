"""Batch-instance normalization: a learnt balance of batch norm and instance norm in every channel."""

from typing import Literal, Self

import torch
from torch import Tensor, nn

from passerby.models.norm.affine import AffineNorm2d
from passerby.models.norm.algebra import standardise
from passerby.models.norm.one_affine import OneAffineBatchInstanceNorm2d

InstanceStart = Literal["one", "copy"]


class BatchInstanceNorm2d(AffineNorm2d):
    """rho BN(x) + (1 - rho) IN(x), each with an affine of its own (Choi et al., "MetaBIN", CVPR 2021, eq. 2 and 3).

    The instance norm keeps no running statistics. Who trains `gate` keeps it in [0, 1].

    Attributes:
        weight, bias: [C], affine of the batch norm.
        instance_weight, instance_bias: [C], affine of the instance norm.
        gate: rho [C], 1 at the start.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        """Both affines 1 and 0, every gate 1."""
        super().__init__(channels, eps, momentum)
        self.instance_weight, self.instance_bias = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
        )
        self.gate = nn.Parameter(torch.ones(channels))

    @classmethod
    def of(cls, norm: nn.BatchNorm2d, start: InstanceStart = "copy") -> Self:
        """A layer in the place of `norm`, with its very parameters and buffers.

        Args:
            norm: the pretrained batch norm.
            start: of the instance norm's affine: `one`, that is 1 and 0 (the authors' program), or a `copy` of the batch
                norm's, whose scale the layers behind expect (ours; the paper is silent).

        Raises:
            PasserbyError: when it has no affine or no running statistics.
        """
        layer = super().of(norm)
        if start == "copy":
            layer.instance_weight.data.copy_(norm.weight.data)
            layer.instance_bias.data.copy_(norm.bias.data)
        return layer

    def algebra(self, mean: Tensor, variance: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        """The mix of both scales and of both shifts."""
        weight, bias, instance_weight, instance_bias, gate = parameters
        of_batch = self.statistics(mean, variance)
        batch_scale, batch_shift = standardise(of_batch.mean, of_batch.variance, weight, bias, self.eps)
        # (1 - rho) and the batch norm's shift go into the instance norm's affine, [C] numbers: few operations are left on
        # [N, C].
        rest = 1 - gate
        bias = rest * instance_bias + gate * batch_shift
        scale, shift = standardise(mean, variance, rest * instance_weight, bias, self.eps)
        return scale + gate * batch_scale, shift, *of_batch


def clamp_gates(model: nn.Module) -> None:
    """Brings every gate of a model's batch-instance norms back into [0, 1], after an optimizer's step."""
    for layer in model.modules():
        if isinstance(layer, (BatchInstanceNorm2d, OneAffineBatchInstanceNorm2d)):
            layer.gate.data.clamp_(0, 1)
