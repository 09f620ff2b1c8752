"""Part heads: what the stripes of a map say of position and identity."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Parts:
    """What part heads say of N images.

    Attributes:
        embedding: [N, S, C_l], a local feature of each stripe.
        position: [N, S, S], logits of where from top to bottom each stripe lies.
    """

    embedding: Tensor
    position: Tensor


class PartHeads(nn.Module):
    """Heads for part positioning and part matching (Han et al., BNTA, AAAI 2022, eq. 4 to 6).

    The map is cut into horizontal stripes, each average pooled, with the bounds of torch's adaptive pooling: they overlap where
    the stripes do not fit the map's height (the paper's fit). One linear layer for all stripes tells the position. A 1x1 convolution of
    each stripe's own, followed by a batch norm, makes its local feature; the paper writes the convolution alone, but
    its count of 60 batch norms with 60,288 parameters holds with these.

    Attributes:
        stripes: S.
        dimension: C_l of a local feature.
    """

    def __init__(self, channels: int, stripes: int = 6, dimension: int = 256) -> None:
        """Random weights, for maps of `channels` channels."""
        super().__init__()
        self.stripes, self.dimension = stripes, dimension
        self.position = nn.Linear(channels, stripes)
        self.local = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, dimension, 1, bias=False), nn.BatchNorm2d(dimension))
            for _ in range(stripes)
        )

    def forward(self, maps: Tensor) -> Parts:
        """Parts of maps [N, C, h, w]; float32 under autocast."""
        with torch.autocast(maps.device.type, enabled=False):
            # A product of matrices: adaptive pooling has no deterministic backward on a GPU.
            stripes = maps.float().mean(3) @ self._pooling(maps.shape[2]).to(maps.device)
            position = self.position(stripes.transpose(1, 2))
            local = [head(stripes[:, :, k, None, None]).flatten(1) for k, head in enumerate(self.local)]
        return Parts(torch.stack(local, 1), position)

    def _pooling(self, height: int) -> Tensor:
        """Shares [h, S] of each row in the mean of each stripe."""
        pooling = torch.zeros(height, self.stripes)
        for k in range(self.stripes):
            start, end = k * height // self.stripes, -(-(k + 1) * height // self.stripes)
            pooling[start:end, k] = 1 / (end - start)
        return pooling
