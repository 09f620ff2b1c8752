"""MGN: identity on the whole person and on stripes, from three branches."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from passerby.data.training_set import Batch
from passerby.errors import PasserbyError
from passerby.losses.triplet import BatchHardTriplet
from passerby.methods.base import Method, MethodSettings, TrainingFacts
from passerby.models.granularity import STRIPES
from passerby.models.model import Model


class MgnSettings(MethodSettings):
    """Parameters of MGN's losses; the defaults are the paper's."""

    name: Literal["mgn"] = "mgn"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    triplet_margin: float = Field(1.2, ge=0)
    triplet_weight: float = Field(1.0, ge=0)


class Mgn(Method):
    """Wang et al., "Learning Discriminative Features with Multiple Granularities for Person Re-ID", ACM MM 2018.

    Cross-entropy on the three whole features before and on the five stripes after their reduction, batch-hard triplet loss
    on the three whole features after it (section 3.3). At test time: all eight reduced features, one after the other.
    Each loss is the mean over its features, which the paper leaves open.
    """

    Settings: ClassVar[type[MethodSettings]] = MgnSettings
    settings: MgnSettings
    loss_names: ClassVar[tuple[str, ...]] = ("cross_entropy", "triplet")
    not_compiled = "MGN's branches run the network's blocks one by one; leave it out"

    def __init__(self, model: Model, facts: TrainingFacts, settings: MgnSettings) -> None:
        """Adds a classifier for each feature.

        Raises:
            PasserbyError: when the model has no branches.
        """
        super().__init__(model, facts, settings)
        if model.granularity is None:
            raise PasserbyError("method.name=mgn: the model has one branch; set model.head to mgn")
        parts = len(model.granularity.reduce) - len(STRIPES)
        widths = [model.backbone.channels] * len(STRIPES) + [model.granularity.reduced] * parts
        self.classifiers = nn.ModuleList()
        for width in widths:
            classifier = nn.Linear(width, facts.classes)
            nn.init.normal_(classifier.weight, std=0.001)
            nn.init.zeros_(classifier.bias)
            self.classifiers.append(classifier)
        self.triplet = BatchHardTriplet(settings.triplet_margin)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and triplet of a batch."""
        seen = self.model(batch.images).granularities
        features = [*seen.whole.unbind(1), *seen.reduced[:, len(STRIPES) :].unbind(1)]
        logits = [classifier(feature).float() for classifier, feature in zip(self.classifiers, features, strict=True)]
        found = torch.stack([each.argmax(1) == batch.identity for each in logits]).float().mean()
        self.log("accuracy", found, batch_size=len(batch.images))
        smoothing = self.settings.label_smoothing
        identity = [F.cross_entropy(each, batch.identity, label_smoothing=smoothing) for each in logits]
        metric = [self.triplet(feature, batch.identity) for feature in seen.reduced[:, : len(STRIPES)].unbind(1)]
        return {
            "cross_entropy": torch.stack(identity).mean(),
            "triplet": self.settings.triplet_weight * torch.stack(metric).mean(),
        }
