"""BNTA's training: part positioning and part matching beside identity, so that both can adapt the model later."""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from passerby.data.training_set import Batch
from passerby.errors import PasserbyError
from passerby.losses.parts import part_positioning
from passerby.methods.base import MethodSettings, TrainingFacts
from passerby.methods.baseline import BagOfTricksSettings, Baseline
from passerby.models.heads import Parts
from passerby.models.model import Model


class BntaSettings(BagOfTricksSettings):
    """Parameters of BNTA's training loss (eq. 9); the defaults are the paper's where it says. A weight of 0 leaves a loss out."""

    name: Literal["bnta"] = "bnta"
    identity_weight: float = Field(1.0, ge=0)
    position_weight: float = Field(0.1, ge=0)
    """lambda 1 of eq. 9."""
    matching_weight: float = Field(0.1, ge=0)
    """lambda 2 of eq. 9."""


class Bnta(Baseline):
    """Han et al., "Generalizable Person Re-ID via Self-Supervised Batch Norm Test-Time Adaption", AAAI 2022, training.

    Identity on the whole map (eq. 2), the position of each stripe (eq. 5), and identity on each stripe by a classifier of
    its own (eq. 7), summed over stripes; everything trains together (eq. 9, 10).

    Ours: the house baseline's BNNeck and label smoothing (the paper's identity loss is plain cross-entropy), and its triplet
    loss, which the paper prints (eq. 3) but does not add in eq. 9; `triplet_weight` 0 leaves it out.
    """

    Settings: ClassVar[type[MethodSettings]] = BntaSettings
    trains_parts = True
    settings: BntaSettings
    loss_names: ClassVar[tuple[str, ...]] = ("cross_entropy", "triplet", "position", "matching")

    def __init__(self, model: Model, facts: TrainingFacts, settings: BntaSettings) -> None:
        """Adds a classifier for each stripe.

        Raises:
            PasserbyError: when the model has no part heads, or every loss has weight 0.
        """
        super().__init__(model, facts, settings)
        if model.parts is None:
            raise PasserbyError("method.name=bnta: the model has no part heads; set model.stripes (the paper: 6)")
        if not self._weights():
            raise PasserbyError("method: every loss of bnta has weight 0; give one of them a weight")
        self.part_classifiers = nn.ModuleList()
        for _ in range(model.parts.stripes):
            classifier = nn.Linear(model.parts.dimension, facts.classes, bias=False)
            nn.init.normal_(classifier.weight, std=0.001)
            self.part_classifiers.append(classifier)
        # What no loss reaches does not train: several processes would wait for its gradient.
        unused: list[nn.Module] = []
        if settings.identity_weight == 0:
            unused += [self.classifier, model.neck]
        if settings.position_weight == 0:
            unused += [model.parts.position]
        if settings.matching_weight == 0:
            unused += [model.parts.local, self.part_classifiers]
        for module in unused:
            module.requires_grad_(False)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of eq. 9 that have a weight, of a batch."""
        features = self.model(batch.images, parts=True)
        parts: Parts = features.parts
        logits = self.classifier(features.embedding).float()
        self.log("accuracy", (logits.argmax(1) == batch.identity).float().mean(), batch_size=len(logits))
        terms: dict[str, Callable[[], Tensor]] = {
            "cross_entropy": lambda: self.cross_entropy(logits, batch.identity),
            "triplet": lambda: self.triplet(features.pooled, batch.identity),
            "position": lambda: part_positioning(parts.position),
            "matching": lambda: self._matching(parts.embedding, batch.identity),
        }
        return {name: weight * terms[name]() for name, weight in self._weights().items()}

    def _weights(self) -> dict[str, float]:
        s = self.settings
        weights = {
            "cross_entropy": s.identity_weight,
            "triplet": s.triplet_weight,
            "position": s.position_weight,
            "matching": s.matching_weight,
        }
        return {name: weight for name, weight in weights.items() if weight > 0}

    def _matching(self, local: Tensor, identity: Tensor) -> Tensor:
        logits = [classifier(local[:, k]) for k, classifier in enumerate(self.part_classifiers)]
        return torch.stack([F.cross_entropy(part.float(), identity) for part in logits]).sum()
