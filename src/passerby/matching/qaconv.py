"""QAConv on one scale or on several."""

import torch
from torch import Tensor, nn

from passerby.matching.map_matcher import MapMatcher, Scorer
from passerby.matching.maps import MapLayout


class MSQAConv(MapMatcher):
    """Query-adaptive convolution on several scales (Liao & Shao, "QAConv", ECCV 2020; Yan et al., "TAL", section 3.3).

    Every place of one image, as a 1x1 kernel, is convolved with the other image's map, and its largest response counts; both
    directions, all scales concatenated: a vector v of S numbers from each side. Then BN(1), a Linear(S -> 1) that both sides
    share, the sum of both, BN(1). The weights start at 1/S. Within a batch the pairs of an image with itself take part in the
    statistics, as in the authors' program of QAConv. In eval mode it all folds into one dot product and one shift.

    Example:
        >>> matcher = MSQAConv(MapLayout(16, ((8, 4), (4, 2))))
        >>> maps = [torch.nn.functional.normalize(torch.randn(1, 6, 16, *size), dim=2) for size in ((8, 4), (4, 2))]
        >>> matcher.pairwise(maps).shape
        torch.Size([6, 6])
    """

    def __init__(self, layout: MapLayout, block_bytes: int | None = None) -> None:
        """Built for maps of one view."""
        super().__init__(layout, block_bytes)
        count = sum(layout.places)
        self.vector_norm, self.linear, self.score_norm = nn.BatchNorm1d(1), nn.Linear(count, 1), nn.BatchNorm1d(1)
        nn.init.constant_(self.linear.weight, 1 / count)

    def scorer(self) -> Scorer:
        """Of responses [B, 1, 2, S]."""
        of_vectors = self.vector_scorer()
        return lambda responses: of_vectors(responses[:, 0])

    def vector_scorer(self) -> Scorer:
        """Of the vectors of both sides, [B, 2, S]."""
        if self.training:
            return self._normed
        weight, shift = self.folded()
        return lambda vectors: (vectors @ weight).sum(1) + shift

    def _normed(self, vectors: Tensor) -> Tensor:
        count = vectors.shape[2]
        normed = self.vector_norm(vectors.reshape(-1, 1, count)).view(-1, count)
        score: Tensor = self.score_norm(self.linear(normed).view(-1, 2).sum(1, keepdim=True))
        return score[:, 0]

    def folded(self) -> tuple[Tensor, Tensor]:
        """Both norms and the linear layer of eval mode as one: weights [S] for either side, and a shift."""
        before, after = _affine(self.vector_norm), _affine(self.score_norm)
        weight = self.linear.weight[0]
        shift = 2 * (before[1] * weight.sum() + self.linear.bias[0])
        return after[0] * before[0] * weight, after[0] * shift + after[1]

    @property
    def place_weights(self) -> Tensor:
        """[1, S], the folded weights."""
        return self.folded()[0].detach()[None]


class QAConv(MSQAConv):
    """`MSQAConv` on one scale, the original (Liao & Shao, ECCV 2020)."""

    def __init__(self, channels: int, size: tuple[int, int], block_bytes: int | None = None) -> None:
        """Built for maps [1, N, C, h, w].

        Args:
            channels: C.
            size: (h, w).
            block_bytes: see `MapMatcher`.
        """
        super().__init__(MapLayout(channels, (size,)), block_bytes)


def _affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a BatchNorm1d(1) in eval mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight[0] * torch.rsqrt(norm.running_var[0] + norm.eps)
    return scale, norm.bias[0] - norm.running_mean[0] * scale
