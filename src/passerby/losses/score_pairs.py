"""Binary cross-entropy on the scores of all pairs of a batch."""

import torch.nn.functional as F
from torch import Tensor, nn

from passerby.losses.score_triplet import Reduction, kinds_of_pairs


class PairwiseMatching(nn.Module):
    """-log sigmoid(S) of the same person, -log sigmoid(-S) of two (Liao & Shao, "QAConv-GS", CVPR 2022, pairwise matching loss).

    For each anchor the sum over the other images of the batch; then the sum or the mean over the anchors.
    """

    def __init__(self, reduction: Reduction = "sum") -> None:
        """`sum` or `mean` over the anchors."""
        super().__init__()
        self.reduction = reduction

    def forward(self, scores: Tensor, identity: Tensor, compared: Tensor | None = None) -> Tensor:
        """The loss of a batch.

        Args:
            scores: float [N, N], higher is more alike.
            identity: int64 [N].
            compared: bool [N, N], the pairs that count; None: all.

        Returns:
            scalar; zero, with zero gradients, when no pair counts.
        """
        positive, negative = kinds_of_pairs(identity, compared)
        each = F.binary_cross_entropy_with_logits(scores, positive.to(scores.dtype), reduction="none")
        by_anchor = (each * (positive | negative)).sum(1)
        return by_anchor.sum() if self.reduction == "sum" else by_anchor.mean()
