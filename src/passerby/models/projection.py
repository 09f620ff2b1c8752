"""From a stage's map to descriptors that are compared by their inner products."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MapProjection(nn.Module):
    """Convolution without bias, batch norm, and length 1 at every place (as in the program of QAConv, ECCV 2020)."""

    def __init__(self, channels: int, projected: int, kernel: int) -> None:
        """Projects maps of `channels` to `projected` channels by a `kernel` x `kernel` convolution."""
        super().__init__()
        self.convolution = nn.Conv2d(channels, projected, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(projected)

    def forward(self, maps: Tensor) -> Tensor:
        """Descriptors [N, projected, h, w] in float32 at least, of maps [N, C, h, w]."""
        projected = self.norm(self.convolution(maps))
        return F.normalize(projected.to(torch.promote_types(projected.dtype, torch.float32)), dim=1)
