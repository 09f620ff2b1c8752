"""What methods that learn from film share: embeddings of a super frame, mined pairs, and how good these are."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from passerby.data.video.film_set import UNKNOWN, FilmBatch
from passerby.losses.feature_queue import FeatureQueue, Origin, may_be_one
from passerby.losses.reliability import log_reliability
from passerby.methods.association import MinedPairs, mine_pairs
from passerby.methods.base import Method, MethodSettings
from passerby.models.norm.processes import of_every_process


class FilmSettings(MethodSettings):
    """Parameters of every method that learns from film."""

    temperature: float = Field(0.1, gt=0)
    """tau of the reliability (ISR, eq. 2); the paper does not say which. Where it is no loss it is logged all the same."""
    candidates: Literal["all", "video"] = "all"
    """What the softmax of the reliability runs over: the other frame's crops of all videos in the super frame, or of the own one."""
    apart: float = Field(30.0, ge=0)
    """Seconds that crops of two shots of one film lie apart at least for the one to be somebody else than the other (ours), in
    the softmax and among ISR's negatives. The stretches of one fixed camera's film show many a person twice, and the most
    similar negative would be the same person; 0: who is of another shot is somebody else (the paper)."""


class FilmMethod(Method):
    """A method whose batches are super frames (`FilmBatch`).

    It logs `precision`, the share of the mined pairs that show one person, and the mean `reliability_right` and
    `reliability_wrong`, of pairs whose people are known. No loss ever sees who they are.
    """

    learns_from: ClassVar[Literal["labels", "film"]] = "film"
    settings: FilmSettings

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings [N, D] of length 1, in float32."""
        return F.normalize(self.model(images).embedding.float())

    def mine(self, embedding: Tensor, batch: FilmBatch) -> tuple[MinedPairs, Tensor]:
        """Mined pairs of a super frame and the log of their reliability [K]; logs how good they are."""
        pairs, log_p = reliable_pairs(embedding, batch, self.settings)
        self._log_quality(pairs, log_p.detach().exp(), batch.truth)
        return pairs, log_p

    def _log_quality(self, pairs: MinedPairs, reliability: Tensor, truth: Tensor) -> None:
        if not len(reliability):
            return
        first, second = truth[pairs.anchor], truth[pairs.positive]
        known = (first != UNKNOWN) & (second != UNKNOWN)
        right = known & (first == second)
        wrong = known & ~right
        found = {"reliability": (reliability.mean(), len(reliability))}
        if bool(known.any()):
            found["precision"] = (right.sum() / known.sum(), int(known.sum()))
        for name, chosen in (("reliability_right", right), ("reliability_wrong", wrong)):
            if bool(chosen.any()):
                found[name] = (reliability[chosen].mean(), int(chosen.sum()))
        for name, (value, count) in found.items():
            self.log(name, value, batch_size=count)


def reliable_pairs(embedding: Tensor, batch: FilmBatch, settings: FilmSettings) -> tuple[MinedPairs, Tensor]:
    """Mined pairs of a super frame (ISR, eq. 1) and the log of their reliability (eq. 2).

    Args:
        embedding: float [N, D], rows of length 1.
        batch: of N crops.
        settings: temperature and candidates of the softmax; crops of other shots that may show the anchor's person
            (`apart`) are no candidates.

    Returns:
        K pairs, and [K].
    """
    pairs = mine_pairs(embedding, batch.video, batch.frame)
    candidates = batch.frame == batch.frame[pairs.positive][:, None]
    own = batch.video == batch.video[pairs.anchor][:, None]
    if settings.candidates == "video":
        candidates &= own
    origin = origin_of(batch)
    candidates &= own | ~may_be_one(origin, origin, settings.apart)[pairs.anchor]
    return pairs, log_reliability(embedding[pairs.anchor], embedding, pairs.positive, candidates, settings.temperature)


def origin_of(batch: FilmBatch) -> Origin:
    """Where the crops of a batch are from."""
    return Origin(batch.video, batch.film, batch.time)


def remember(queue: FeatureQueue, features: Tensor, origin: Origin) -> None:
    """Puts the features [N, D] of every process into a queue, which is so the same on each."""
    everyone = Origin(*(torch.cat(of_every_process(values)) for values in origin))
    queue.push(torch.cat(of_every_process(features)), everyone)
