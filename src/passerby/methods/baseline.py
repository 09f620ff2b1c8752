"""The strong baseline: cross-entropy and batch-hard triplet on a BNNeck."""

from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from passerby.data.training_set import Batch
from passerby.losses.triplet import BatchHardTriplet
from passerby.methods.base import Method, MethodSettings, TrainingFacts
from passerby.models.model import Features, Model
from passerby.models.route import Route


class BagOfTricksSettings(MethodSettings):
    """Parameters of the baseline's losses, for it and for the methods that stand on it."""

    label_smoothing: float = Field(0.1, ge=0, lt=1)
    triplet_margin: float = Field(0.3, ge=0)
    triplet_weight: float = Field(1.0, ge=0)


class BaselineSettings(BagOfTricksSettings):
    """Parameters of the baseline."""

    name: Literal["baseline"] = "baseline"


class Baseline(Method):
    """Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification", CVPRW 2019.

    Identity classifier without bias on the feature after the BNNeck, cross-entropy with label smoothing; batch-hard
    triplet loss on the feature before it. At test time: the feature after the BNNeck, cosine. With domain norms
    (`model.norm=domain`) each image is normalised by its own domain: DSBN (Chang et al., CVPR 2019).
    """

    Settings: ClassVar[type[MethodSettings]] = BaselineSettings
    loss_names: ClassVar[tuple[str, ...]] = ("cross_entropy", "triplet")

    def __init__(self, model: Model, facts: TrainingFacts, settings: BagOfTricksSettings) -> None:
        """Adds an identity classifier to the model."""
        super().__init__(model, facts, settings)
        self.settings: BagOfTricksSettings = settings
        self.classifier = nn.Linear(model.width, facts.classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)
        self.triplet = BatchHardTriplet(settings.triplet_margin)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and triplet of a batch."""
        return self.identity_losses(self.model(batch.images, Route(batch.domain)), batch.identity)

    def identity_losses(self, features: Features, identity: Tensor, prefix: str = "") -> dict[str, Tensor]:
        """Cross-entropy and triplet of the features of N images of identities int64 [N], each a scalar; names begin with the prefix."""
        logits = self.classifier(features.embedding).float()
        self.log(f"{prefix}accuracy", (logits.argmax(1) == identity).float().mean(), batch_size=len(logits))
        return {
            f"{prefix}cross_entropy": self.cross_entropy(logits, identity),
            f"{prefix}triplet": self.settings.triplet_weight * self.triplet(features.pooled, identity),
        }

    def cross_entropy(self, logits: Tensor, identity: Tensor) -> Tensor:
        """Cross-entropy with label smoothing of logits [N, classes]."""
        return F.cross_entropy(logits, identity, label_smoothing=self.settings.label_smoothing)
