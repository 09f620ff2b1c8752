"""Batch-hard triplet loss on the scores of a matcher."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Reduction = Literal["sum", "mean"]


class BatchHardScoreTriplet(nn.Module):
    """max(0, m - min over positives of S(i, p) + max over negatives of S(i, n)) (Yan et al., "TAL", eq. 7).

    Over the anchors that have a positive other than themselves and a negative; the paper sums over them.

    Example:
        >>> loss = BatchHardScoreTriplet(margin=16.0)
        >>> loss(torch.randn(8, 8), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])).shape
        torch.Size([])
    """

    def __init__(self, margin: float = 16.0, reduction: Reduction = "sum") -> None:
        """`margin` in units of the score; `mean` is the mean over the anchors."""
        super().__init__()
        self.margin, self.reduction = margin, reduction

    def forward(self, scores: Tensor, identity: Tensor, compared: Tensor | None = None) -> Tensor:
        """The loss of a batch.

        Args:
            scores: float [N, N], higher is more alike.
            identity: int64 [N].
            compared: bool [N, N], the pairs that count; None: all.

        Returns:
            scalar; zero, with zero gradients, when no anchor has both a positive and a negative.
        """
        positive, negative = kinds_of_pairs(identity, compared)
        usable = positive.any(1) & negative.any(1)
        if not bool(usable.any()):
            return scores.sum() * 0
        lowest = scores.masked_fill(~positive, torch.inf).amin(1)[usable]
        highest = scores.masked_fill(~negative, -torch.inf).amax(1)[usable]
        hinge = F.relu(self.margin - lowest + highest)
        return hinge.sum() if self.reduction == "sum" else hinge.mean()


def kinds_of_pairs(identity: Tensor, compared: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Which pairs of a batch show one person, and which two: bool [N, N] both, no image with itself.

    Args:
        identity: int64 [N].
        compared: bool [N, N], the pairs that count; None: all.
    """
    same = identity[:, None] == identity[None, :]
    positive = same & ~torch.eye(len(identity), dtype=torch.bool, device=identity.device)
    negative = ~same
    return (positive, negative) if compared is None else (positive & compared, negative & compared)
