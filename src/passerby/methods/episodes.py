"""What meta-learning methods share: domains split into meta-train and meta-test, and losses at moved parameters."""

import math
from collections.abc import Callable
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.func import functional_call

from passerby.data.training_set import Batch
from passerby.errors import PasserbyError
from passerby.losses.scatter import intra_domain_scatter
from passerby.losses.shuffle import inter_domain_shuffle
from passerby.methods.base import MethodSettings, TrainingFacts
from passerby.methods.baseline import BagOfTricksSettings, Baseline
from passerby.models.model import Features, Model
from passerby.seeding import derived_seed

MetaLoss = Literal["cross_entropy", "triplet", "scatter", "shuffle"]
_SPLIT = 0x3E7B


class EpisodeSettings(BagOfTricksSettings):
    """Parameters of a meta-learning episode."""

    meta_train_domains: int | None = Field(None, gt=0)
    """Domains of a batch that are its meta-train part, the others are meta-test; null: 60 %, rounded up (3 of 5)."""
    meta_train: tuple[MetaLoss, ...] = Field(min_length=1)
    """Losses of the inner step."""
    meta_test: tuple[MetaLoss, ...] = Field(min_length=1)
    """Losses at the place that the inner step led to."""
    inner_lr: tuple[float, float]
    """Size of the inner step: it swings between these two in triangles; equal, it is fixed."""
    inner_period: float = Field(0.05, gt=0, le=1)
    """Fraction of the run that one swing, up and down, takes (the paper's program: 5 of 100 epochs)."""

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if not 0 < self.inner_lr[0] <= self.inner_lr[1]:
            raise ValueError("inner_lr: two positive numbers, the smaller first")
        return self


class EpisodicMethod(Baseline):
    """Base of methods that rehearse an unseen domain: some domains train, the others test what that did."""

    Settings: ClassVar[type[MethodSettings]]
    settings: EpisodeSettings

    def __init__(self, model: Model, facts: TrainingFacts, settings: EpisodeSettings) -> None:
        """Fixes the number of meta-train domains.

        Raises:
            PasserbyError: when the domains cannot be split.
        """
        super().__init__(model, facts, settings)
        if facts.domains < 2:
            raise PasserbyError(
                f"method.name={settings.name}: one domain cannot be split into meta-train and meta-test; name several "
                f"data.sources, or set data.domains to camera"
            )
        self.meta_train_domains = settings.meta_train_domains or min(math.ceil(0.6 * facts.domains), facts.domains - 1)
        if self.meta_train_domains >= facts.domains:
            raise PasserbyError(
                f"method.meta_train_domains: {self.meta_train_domains} of {facts.domains} domains leave none to meta-test "
                f"on; at most {facts.domains - 1}"
            )

    def inner_lr(self, step: int) -> float:
        """The inner step's size at a step of the run: up and down in triangles (Smith, "Cyclical Learning Rates", 2017)."""
        low, high = self.settings.inner_lr
        swing = (step / (self.settings.inner_period * self.facts.steps)) % 1
        return low + (high - low) * (1 - abs(2 * swing - 1))

    def split(self, batch: Batch) -> Tensor:
        """Whether each image is in the meta-train part, bool [N]; the domains are permuted anew at each step."""
        generator = torch.Generator().manual_seed(derived_seed(self.facts.seed, batch.step, _SPLIT))
        chosen = torch.randperm(self.facts.domains, generator=generator)[: self.meta_train_domains]
        return torch.isin(batch.domain, chosen.to(batch.domain.device))

    def meta_loss(
        self, parameters: dict[str, Tensor], batch: Batch, part: Tensor, names: tuple[MetaLoss, ...]
    ) -> Tensor:
        """The sum of the named losses of a part of a batch.

        Args:
            parameters: what stands in the place of the model's parameters of those names; the others are its own.
            batch: augmented.
            part: bool [N], the images that count.
            names: of the losses.

        Returns:
            scalar.

        Raises:
            PasserbyError: when the part has fewer than two images.
        """
        if int(part.sum()) < 2:
            raise PasserbyError(
                f"method.name={self.settings.name}: of the domains that one half of an episode takes, this process has "
                f"{int(part.sum())} images in its batch; balance batches over domains (data.batches=domain, more data.identities, "
                "method.meta_identities), or train in fewer processes"
            )
        images, identity, domain = batch.images[part], batch.identity[part], batch.domain[part]
        images = images.contiguous(memory_format=torch.channels_last)
        features: Features = functional_call(self.model, parameters, (images,))
        terms: dict[str, Callable[[], Tensor]] = {
            "cross_entropy": lambda: self.cross_entropy(self.classifier(features.embedding).float(), identity),
            "triplet": lambda: self.settings.triplet_weight * self.triplet(features.pooled, identity),
            "scatter": lambda: intra_domain_scatter(features.pooled, domain),
            "shuffle": lambda: inter_domain_shuffle(features.pooled, identity, domain),
        }
        return torch.stack([terms[name]() for name in names]).sum()
