"""A memory of features, and ISR's loss against its hardest negatives."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Hardest = Literal["similar", "dissimilar"]
_NOBODY = -1


class FeatureQueue(nn.Module):
    """The features of the last crops, first in, first out, and which video each was of.

    It is part of a method's state: its buffers are saved with a checkpoint.

    Attributes:
        features: float32 [L, D].
        video: int64 [L]; -1 where nothing was written yet.
        place: int64 scalar, where the next feature goes.
    """

    features: Tensor
    video: Tensor
    place: Tensor

    def __init__(self, length: int, dimension: int) -> None:
        """An empty queue for `length` features."""
        super().__init__()
        self.register_buffer("features", torch.zeros(length, dimension))
        self.register_buffer("video", torch.full((length,), _NOBODY))
        self.register_buffer("place", torch.tensor(0))

    @torch.no_grad()
    def push(self, features: Tensor, video: Tensor) -> None:
        """Takes in features [N, D] of videos [N]; the oldest go. Of more than fit, the last stay."""
        length = len(self.video)
        features, video = features[-length:], video[-length:]
        rows = (self.place + torch.arange(len(video), device=self.place.device)) % length
        self.features[rows] = features.to(self.features.dtype)
        self.video[rows] = video
        self.place.add_(len(video)).remainder_(length)

    def negatives(self, video: Tensor) -> Tensor:
        """Which features are of other videos than each of `video` [N]: bool [N, L]."""
        return (self.video != _NOBODY) & (self.video != video[:, None])

    def contrast(self, features: Tensor, video: Tensor, k: int = 50, hardest: Hardest = "similar") -> Tensor:
        """Mean of log(1 + exp(x f)) over the k hardest negatives f of each x (Dou et al., "ISR", ICCV 2023, eq. 5).

        Negatives are features of other videos. The paper calls them hard and yet 'the most dissimilar'; the most similar
        are taken, `dissimilar` is the literal reading. Where there are fewer than k, the mean is over these.

        Args:
            features: float [N, D], rows of length 1; computed in float32 under autocast.
            video: int64 [N].
            k: negatives of each feature; the paper does not say how many.
            hardest: which negatives are hard.

        Returns:
            [N]; zero, with zero gradients, where there are no negatives yet.
        """
        sign = 1 if hardest == "similar" else -1
        with torch.autocast(features.device.type, enabled=False):
            wide = features.to(torch.promote_types(features.dtype, torch.float32))
            memory = self.features.to(wide.dtype)
            with torch.no_grad():
                scores = sign * (wide @ memory.T)
                chosen, rows = scores.masked_fill_(~self.negatives(video), -torch.inf).topk(min(k, len(memory)))
                there = chosen > -torch.inf
            # Only what was chosen is multiplied again, for its gradient: k of L columns.
            similarity = torch.einsum("nd,nkd->nk", wide, memory[rows])
            terms = F.softplus(similarity).masked_fill(~there, 0)
            return terms.sum(1) / there.sum(1).clamp(min=1)
