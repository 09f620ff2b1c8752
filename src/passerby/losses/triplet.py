"""Batch-hard triplet loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BatchHardTriplet(nn.Module):
    """Batch-hard triplet loss of Hermans et al., "In Defense of the Triplet Loss", arXiv 1703.07737, eq. 5.

    For each anchor a: max(0, margin + max over positives of d(a, p) - min over negatives of d(a, n)), d Euclidean; the
    mean over anchors that have a positive other than themselves and a negative.

    Example:
        >>> loss = BatchHardTriplet(margin=0.3)
        >>> loss(torch.randn(8, 16), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])).shape
        torch.Size([])
    """

    def __init__(self, margin: float = 0.3) -> None:
        """`margin` in units of the distance."""
        super().__init__()
        self.margin = margin

    def forward(self, features: Tensor, identity: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            features: float [N, D]; computed in float32 under autocast.
            identity: int64 [N].

        Returns:
            scalar; zero, with zero gradients, when no anchor has both a positive and a negative.
        """
        with torch.autocast(features.device.type, enabled=False):
            distances = euclidean_distances(features.float())
        same = identity[:, None] == identity[None, :]
        positive = same & ~torch.eye(len(identity), dtype=torch.bool, device=identity.device)
        hardest_positive = distances.masked_fill(~positive, -torch.inf).amax(1)
        hardest_negative = distances.masked_fill(same, torch.inf).amin(1)
        usable = positive.any(1) & (~same).any(1)
        if not bool(usable.any()):
            return distances.sum() * 0
        return F.relu(self.margin + hardest_positive[usable] - hardest_negative[usable]).mean()


def euclidean_distances(features: Tensor) -> Tensor:
    """All pairs' Euclidean distances, [N, D] -> [N, N]; the gradient at distance 0 is 0, not NaN."""
    squares = features.square().sum(1)
    squared = (squares[:, None] + squares[None, :] - 2 * features @ features.T).clamp(min=0)
    return torch.where(squared > 1e-12, squared.clamp(min=1e-12).sqrt(), torch.zeros_like(squared))
