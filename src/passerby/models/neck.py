"""The BNNeck of a model with domain-aware norms: running statistics of its own for each mode."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from passerby.errors import PasserbyError
from passerby.models.route import MODES, RoutedModule


class RoutedBatchNorm1d(RoutedModule):
    """A batch norm of features whose statistics are those of the route's mode; the affine is the same in all.

    At test time a mode that training never took goes by the statistics of the mode that it took most.

    Features of experts and of re-coloured images are distributed differently: normalised by statistics of both they would be
    so by none.

    Attributes:
        weight, bias: [C].
        running_mean, running_var: [3, C], by mode in the order of `MODES`.
        num_batches_tracked: int64 [3].
        hold_statistics: batches leave the running statistics alone.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        """Affine 1 and 0, statistics 0 and 1."""
        super().__init__()
        self.eps, self.momentum, self.hold_statistics = eps, momentum, False
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(len(MODES), channels))
        self.register_buffer("running_var", torch.ones(len(MODES), channels))
        self.register_buffer("num_batches_tracked", torch.zeros(len(MODES), dtype=torch.long))

    def forward(self, features: Tensor) -> Tensor:
        """Normalises features [N, C].

        Raises:
            PasserbyError: when there is no route.
        """
        if self.route is None:
            raise PasserbyError("models.neck: a model with domain norms has to know the way: give it a Route")
        mode = MODES.index(self.route.mode)
        if not self.training and not self.num_batches_tracked[mode]:
            mode = int(self.num_batches_tracked.argmax())
        if self.training and not self.hold_statistics:
            self.num_batches_tracked[mode] += 1
        keep = not (self.training and self.hold_statistics)
        mean, variance = (self.running_mean[mode], self.running_var[mode]) if keep else (None, None)
        return F.batch_norm(features, mean, variance, self.weight, self.bias, self.training, self.momentum, self.eps)
