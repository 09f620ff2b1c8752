"""LDA: experts of each domain, and a network that is shown each domain in the colours of another."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from passerby.data.training_set import Batch
from passerby.errors import PasserbyError
from passerby.losses.latent import LatentDistribution, alignment_loss, consistency_loss
from passerby.methods.base import MethodSettings, TrainingFacts
from passerby.methods.baseline import BagOfTricksSettings, Baseline
from passerby.models.model import Model
from passerby.models.norm import DomainNorm2d
from passerby.models.norm.bank import domain_statistics
from passerby.models.norm.domain import FEWEST_IMAGES
from passerby.models.norm.primitive import image_moments
from passerby.models.route import Route, other_domains
from passerby.seeding import torch_generator

_COLOURS = 0x1DA


class LdaSettings(BagOfTricksSettings):
    """Parameters of LDA. The poster names the losses; every number here is ours. A weight of 0 leaves a loss out."""

    name: Literal["lda"] = "lda"
    aligned_weight: float = Field(1.0, ge=0)
    """Of cross-entropy and triplet in mode A, beside 1 in mode E; with `alignment_weight` at 0 too there is no mode A."""
    consistency_weight: float = Field(1.0, ge=0)
    """Of L_consis."""
    alignment_weight: float = Field(1.0, ge=0)
    """Of L_align; it counts from where mode A begins."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Fraction of the run before mode A begins: the bank has to be filled first."""
    latent_momentum: float = Field(0.1, gt=0, le=1)
    """Weight of a new batch in the latent distribution."""


class Lda(Baseline):
    """Nie et al., "Latent Distribution Alignment for Domain Generalizable Person Re-identification" (a poster).

    One network, two passes a step. Mode E: every norm is a domain-specific BN, whose population statistics are the Buffer Bank. Mode
    A: every norm is Anti-Normalization, which shows each image in the bank's statistics of another domain j, drawn anew for each
    image and step. The output statistics of the experts make the latent distribution; L_consis holds the experts to it,
    L_align the instance statistics of mode A. There are no other parameters than the baseline's (with
    `model.bank.affine=shared`, as the recipes have it).

    The poster's: E and A, the bank, the equation of Anti-Normalization, both losses by name and purpose. Ours: one set of
    convolutions; what follows Anti-Normalization (`model.bank.after`); cross-entropy and triplet in both modes, on one
    classifier; the form of the latent distribution and of both losses (`passerby.losses.latent`); j the same in all layers; a
    BNNeck with statistics of each mode; weights and warm-up; how an unknown domain is looked at (`model.unknown`).
    """

    Settings: ClassVar[type[MethodSettings]] = LdaSettings
    settings: LdaSettings
    loss_names: ClassVar[tuple[str, ...]] = (
        "cross_entropy",
        "triplet",
        "consistency",
        "aligned_cross_entropy",
        "aligned_triplet",
        "alignment",
    )

    def __init__(self, model: Model, facts: TrainingFacts, settings: LdaSettings) -> None:
        """Adds the latent distribution.

        Raises:
            PasserbyError: when the model has no bank, or one with attention, or norms that know no modes (MGN's), or there is one
                domain alone.
        """
        super().__init__(model, facts, settings)
        banks = [m for m in model.modules() if isinstance(m, DomainNorm2d)]
        if not banks:
            raise PasserbyError(
                "method.name=lda: the model has no statistics of domains; set model.norm to domain or domain-ibn-a"
            )
        if facts.domains < 2:
            raise PasserbyError(
                "method.name=lda: one domain has no other to take colours from; name several data.sources, or set data.domains "
                "to camera"
            )
        if any(bank.excite is not None for bank in banks):
            raise PasserbyError("method.name=lda: does not train the attention of mix; set model.bank.attention to 0")
        if model.granularity is not None:
            raise PasserbyError(
                "method.name=lda: the batch norms of MGN's branches keep one set of statistics for both modes; set model.head to pooled"
            )
        self.latent = LatentDistribution(facts.domains, model.backbone.channels, settings.latent_momentum)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of mode E and, after the warm-up, of mode A, of an augmented batch."""
        terms = self._expert_losses(batch)
        modes = self.settings.aligned_weight, self.settings.alignment_weight
        if batch.step >= self.settings.warmup * self.facts.steps and any(modes):
            self._check_seen(batch.step)
            terms |= self._aligned_losses(batch)
        return terms

    def _expert_losses(self, batch: Batch) -> dict[str, Tensor]:
        features = self.model(batch.images, Route(batch.domain))
        terms = self.identity_losses(features, batch.identity)
        domains = self.facts.domains
        mean, variance, images = domain_statistics(*image_moments(features.maps["last"]), batch.domain, domains)
        seen = images[:, 0] >= FEWEST_IMAGES
        self.latent.observe(mean, variance, seen)
        if self.settings.consistency_weight:
            loss = consistency_loss(mean, variance, seen, self.latent())
            terms["consistency"] = self.settings.consistency_weight * loss
        return terms

    def _aligned_losses(self, batch: Batch) -> dict[str, Tensor]:
        generator = torch_generator(self.facts.seed, batch.step, self.global_rank, _COLOURS)
        colour = other_domains(batch.domain, self.facts.domains, generator)
        features = self.model(batch.images, Route(batch.domain, "recolour", colour))
        terms: dict[str, Tensor] = {}
        if weight := self.settings.aligned_weight:
            losses = self.identity_losses(features, batch.identity, "aligned_")
            terms |= {name: weight * value for name, value in losses.items()}
        if weight := self.settings.alignment_weight:
            terms["alignment"] = weight * alignment_loss(*image_moments(features.maps["last"]), self.latent())
        return terms

    def _check_seen(self, step: int) -> None:
        """Raises PasserbyError when mode A begins before every domain was seen: the bank moves with the latent distribution."""
        unseen = (self.latent.batches == 0).nonzero()[:, 0].tolist()
        if unseen:
            raise PasserbyError(
                f"method.name=lda: mode A begins at step {step}, but no batch so far had {FEWEST_IMAGES} images of "
                f"{', '.join(self.facts.domain_names[k] for k in unseen)}: the statistics there are still those that training began "
                "with. Balance batches over domains (data.batches=domain), raise data.identities or data.images_each, or make "
                "method.warmup longer"
            )
