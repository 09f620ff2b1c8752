"""A memory of features, and ISR's loss against its hardest negatives."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Hardest = Literal["similar", "dissimilar"]
_NOBODY = -1


class Origin(NamedTuple):
    """Where crops are from.

    Attributes:
        video: int64 [N], the shot.
        film: int64 [N], the film that the shot is of.
        time: float32 [N], seconds from the film's first frame.
    """

    video: Tensor
    film: Tensor
    time: Tensor


def may_be_one(first: Origin, second: Origin, apart: float) -> Tensor:
    """Whether a crop of the one and a crop of the other may show one person: of one film, less than `apart` seconds from each
    other (ours).

    Returns:
        bool [N, M], for N and M crops.
    """
    near = (second.time - first.time[:, None]).abs() < apart
    return near & (second.film == first.film[:, None])


class FeatureQueue(nn.Module):
    """The features of the last crops, first in, first out, and where each is from.

    It is part of a method's state: its buffers are saved with a checkpoint.

    Attributes:
        features: float32 [L, D].
        video: int64 [L]; -1 where nothing was written yet.
        film: int64 [L].
        time: float32 [L].
        place: int64 scalar, where the next feature goes.
    """

    features: Tensor
    video: Tensor
    film: Tensor
    time: Tensor
    place: Tensor

    def __init__(self, length: int, dimension: int) -> None:
        """An empty queue for `length` features."""
        super().__init__()
        self.register_buffer("features", torch.zeros(length, dimension))
        self.register_buffer("video", torch.full((length,), _NOBODY))
        self.register_buffer("film", torch.full((length,), _NOBODY))
        self.register_buffer("time", torch.zeros(length))
        self.register_buffer("place", torch.tensor(0))

    @torch.no_grad()
    def push(self, features: Tensor, origin: Origin) -> None:
        """Takes in features [N, D] of crops from there; the oldest go. Of more than fit, the last stay."""
        length = len(self.video)
        features = features[-length:]
        rows = (self.place + torch.arange(len(features), device=self.place.device)) % length
        self.features[rows] = features.to(self.features.dtype)
        for buffer, values in zip((self.video, self.film, self.time), origin, strict=True):
            buffer[rows] = values[-length:].to(buffer.dtype)
        self.place.add_(len(features)).remainder_(length)

    def negatives(self, origin: Origin, apart: float) -> Tensor:
        """Which features are of other videos than each of N crops, and `apart` seconds away where of the same film: bool [N, L]."""
        other = (self.video != _NOBODY) & (self.video != origin.video[:, None])
        return other & ~may_be_one(origin, Origin(self.video, self.film, self.time), apart)

    def contrast(self, features: Tensor, origin: Origin, k: int, hardest: Hardest, apart: float) -> Tensor:
        """Mean of log(1 + exp(x f)) over the k hardest negatives f of each x (Dou et al., "ISR", ICCV 2023, eq. 5).

        Negatives are features of other videos. The paper calls them hard and yet 'the most dissimilar'; the most similar
        are taken, `dissimilar` is the literal reading. Where there are fewer than k, the mean is over these.

        Args:
            features: float [N, D], rows of length 1; computed in float32 under autocast.
            origin: of the N crops.
            k: negatives of each feature; the paper does not say how many.
            hardest: which negatives are hard.
            apart: seconds that negatives of the same film lie away at least (ours): its shots may show one person.

        Returns:
            [N]; zero, with zero gradients, where there are no negatives yet.
        """
        sign = 1 if hardest == "similar" else -1
        with torch.autocast(features.device.type, enabled=False):
            wide = features.to(torch.promote_types(features.dtype, torch.float32))
            memory = self.features.to(wide.dtype)
            with torch.no_grad():
                scores = sign * (wide @ memory.T)
                chosen, rows = scores.masked_fill_(~self.negatives(origin, apart), -torch.inf).topk(min(k, len(memory)))
                there = chosen > -torch.inf
            # Only what was chosen is multiplied again, for its gradient: k of L columns.
            similarity = torch.einsum("nd,nkd->nk", wide, memory[rows])
            terms = F.softplus(similarity).masked_fill(~there, 0)
            return terms.sum(1) / there.sum(1).clamp(min=1)
