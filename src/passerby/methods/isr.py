"""ISR: people of two frames are matched, and matched crops learn to be alike as far as the match can be relied on."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from passerby.data.video.film_set import FilmBatch
from passerby.errors import PasserbyError
from passerby.losses.feature_queue import FeatureQueue, Hardest, Origin
from passerby.losses.focal import focal
from passerby.losses.reliability import reliability_guided
from passerby.methods.base import MethodSettings, TrainingFacts
from passerby.methods.film import FilmMethod, FilmSettings, origin_of, remember
from passerby.models.model import Model


class IsrSettings(FilmSettings):
    """Parameters of ISR; the defaults are the paper's where it says."""

    name: Literal["isr"] = "isr"
    gamma: float = Field(6.0, ge=0)
    """Strictness for reliability (eq. 3); 0 leaves the guidance out (Table 5)."""
    pair_loss: Literal["reliability", "focal"] = "reliability"
    """What is done with mined pairs: L_RC, or the focal loss with that gamma (Table 6; its paper takes 2)."""
    queue_weight: float = Field(5.0, ge=0)
    """lambda of eq. 6; 0 leaves the queue out (Table 5)."""
    queue_length: int = Field(8192, gt=0)
    """Features that the queue holds; the paper does not say how many."""
    negatives: int = Field(50, gt=0)
    """k of eq. 5; the paper does not say how many."""
    hardest: Hardest = "similar"
    """Which of the queue's negatives are hard: the paper calls them hard, and the most dissimilar."""


class Isr(FilmMethod):
    """Dou et al., "Identity-Seeking Self-Supervised Representation Learning for Generalizable Person Re-ID", ICCV 2023.

    Crops of two frames of a shot are matched exactly (eq. 1). A pair's reliability p is its softmax probability (eq. 2), its
    loss -p^gamma log p with p^gamma detached (eq. 3), rescaled (eq. 4); a queue of features of other videos gives the k
    hardest negatives (eq. 5); both are added (eq. 6). Anchors of eq. 5 are those of the mined pairs. Negatives of the same film,
    in eq. 2 as in eq. 5, keep a distance in time (`apart`, ours).

    Ours, since the paper does not say: temperature, queue length and k; the BNNeck before an embedding is brought to length
    1; with several processes the queue holds the features of all, the same on each.
    """

    Settings: ClassVar[type[MethodSettings]] = IsrSettings
    settings: IsrSettings
    loss_names: ClassVar[tuple[str, ...]] = ("pairs", "queue")

    def __init__(self, model: Model, facts: TrainingFacts, settings: IsrSettings) -> None:
        """Adds a queue, empty at first.

        Raises:
            PasserbyError: when the queue could hold no negatives.
        """
        super().__init__(model, facts, settings)
        if settings.queue_weight and (facts.domains < 2 or facts.span < settings.apart):
            found = "one shot with frames to draw" if facts.domains < 2 else f"one film of {facts.span:.3g} s"
            raise PasserbyError(
                f"data.shards: {found}; the queue's negatives come from other shots, at least method.apart = {settings.apart:g} s "
                "away in the same film: add film, cut it into shorter stretches (passerby ingest), or lower method.apart, or set "
                "method.queue_weight to 0"
            )
        self.queue = FeatureQueue(settings.queue_length, model.dimension) if settings.queue_weight else None

    def losses(self, batch: FilmBatch) -> dict[str, Tensor]:
        """Eq. 4 and 5, the second with its weight; then the queue takes in the batch."""
        embedding = self.embed(batch.images)
        pairs, log_p = self.mine(embedding, batch)
        guided = reliability_guided if self.settings.pair_loss == "reliability" else focal
        losses = {"pairs": guided(log_p, self.settings.gamma)}
        if self.queue is not None:
            origin, settings = origin_of(batch), self.settings
            anchors, times = torch.unique(pairs.anchor, return_counts=True)
            anchored = Origin(*(values[anchors] for values in origin))
            each = self.queue.contrast(
                embedding[anchors], anchored, settings.negatives, settings.hardest, settings.apart
            )
            losses["queue"] = settings.queue_weight * (times * each).sum() / max(1, len(pairs.anchor))
            remember(self.queue, embedding, origin)
        return losses
