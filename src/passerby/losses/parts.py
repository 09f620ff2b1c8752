"""BNTA's self-supervised losses on the stripes of a person."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def part_positioning(position: Tensor) -> Tensor:
    """Cross-entropy of where each stripe lies, summed over stripes (Han et al., BNTA, AAAI 2022, eq. 5).

    Args:
        position: float [N, S, S], logits by stripe; computed in float32 under autocast.

    Returns:
        scalar, the mean over images.
    """
    images, stripes, _ = position.shape
    target = torch.arange(stripes, device=position.device).expand(images, stripes)
    return stripes * F.cross_entropy(position.float().flatten(0, 1), target.flatten())


class PartMatching(nn.Module):
    """Hinge on the parts of paired images (Han et al., BNTA, AAAI 2022, eq. 8).

    For each pair, and the part n by which it was paired: max(0, margin + d(f, f+) - d(f, f-)), where f+ is that part of the
    other image of the pair and f- the nearest to f among that part of all other images of the batch.

    Example:
        >>> first, second = torch.randn(2, 8, 6, 16)
        >>> PartMatching()(first, second, torch.zeros(8, dtype=torch.long)).shape
        torch.Size([])
    """

    def __init__(self, margin: float = 0.3, reduction: Literal["mean", "sum"] = "mean") -> None:
        """`margin` in units of the Euclidean distance; the paper sums over pairs."""
        super().__init__()
        self.margin, self.reduction = margin, reduction

    def forward(self, first: Tensor, second: Tensor, part: Tensor) -> Tensor:
        """The loss of a batch of pairs.

        Args:
            first: float [B, S, C], local features of one image of each pair.
            second: float [B, S, C], of the other.
            part: int64 [B], the part that each pair shares.

        Returns:
            scalar; zero, with zero gradients, for a single pair, which has no negative.
        """
        pairs = torch.arange(len(part), device=part.device)
        if len(part) < 2:
            return (first.sum() + second.sum()) * 0
        # [2 B, B, C]: part n_k of every image of the batch, for each pair k.
        candidates = torch.cat([first, second])[:, part].float()
        anchor = first[pairs, part].float()
        distances = _distance(candidates, anchor)
        own = torch.eye(len(part), dtype=torch.bool, device=part.device).repeat(2, 1)
        hardest = distances.masked_fill(own, torch.inf).amin(0)
        hinge = F.relu(self.margin + distances[len(part) + pairs, pairs] - hardest)
        return hinge.sum() if self.reduction == "sum" else hinge.mean()


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance over the last dimension; the gradient at distance 0 is 0, not NaN."""
    squared = (a - b).square().sum(-1)
    return torch.where(squared > 1e-12, squared.clamp(min=1e-12).sqrt(), torch.zeros_like(squared))
