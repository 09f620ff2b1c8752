"""TAL: experts of the source domains and a stream that mixes them, brought together by matching."""

from dataclasses import replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from passerby.data.training_set import Batch
from passerby.errors import PasserbyError
from passerby.matching.experts import MSDAQAConv, TwoStreamQAConv, VotingQAConv
from passerby.matching.map_matcher import MapMatcher
from passerby.matching.maps import MapLayout
from passerby.matching.qaconv import MSQAConv
from passerby.methods.base import MethodSettings, TrainingFacts
from passerby.methods.qaconv import MatchingMethod, MatchingSettings
from passerby.models.freeze import evaluating
from passerby.models.model import Model
from passerby.models.norm import DomainNorm2d
from passerby.models.route import Route
from passerby.seeding import torch_generator


class TalSettings(MatchingSettings):
    """Parameters of TAL; which streams there are, `model.matcher` says."""

    name: Literal["tal"] = "tal"
    expert_pairs: Literal["batch", "domain"] = "batch"
    """Pairs that train the experts: all of a batch, each image seen by its own expert (eq. 7 compares all of a batch), or pairs of
    one domain alone. Where cameras are the domains, the latter would hardly ever see a person twice."""
    mix_trains_affine: bool = False
    """Whether the domain-invariant stream gives gradients to the experts' scales and shifts."""
    leave_out: float = Field(0.0, ge=0, le=1)
    """Probability that in steps 2 and 3 an image's own expert takes no part, as if its domain were unseen (ours; the paper: 0)."""


class Tal(MatchingMethod):
    """Yan et al., "TAL: Two-stream Adaptive Learning for Generalizable Person Re-identification", arXiv 2111.14290.

    One step on a batch:

    1. `expert`: each image through the expert of its own domain (DSBN), MS-QAConv, loss. Trains the backbone, the experts'
       norms and that matcher, which is not kept. The experts' statistics move here alone.
    2. `adaptive`: the same images, without their domains, through all K experts as they are at test time; no gradient goes back
       into them. MSDA-QAConv, loss: trains that matcher alone.
    3. `invariant`: the same images through the domain-invariant stream, where DABN mixes the experts in every layer (eq. 3 to 6);
       MS-QAConv, loss. Trains the backbone, the attention and that matcher; the experts' scales and shifts unless
       `mix_trains_affine` stay.

    The score at test time is that of MSDA-QAConv on the experts plus that of MS-QAConv on the domain-invariant stream. Either
    stream can be left out, and each be replaced by the paper's simpler ones (`model.matcher`): voting has no step 2, and keeps the
    matcher of step 1.

    The order of the steps and where gradients stop are the paper's (section 3.1, figure 2); that the experts run as at test
    time in step 2, on their running statistics, is our reading. At the test no image has an expert of its own, in training every one
    has: `leave_out` (ours) takes it away at random, so that both adaptive modules learn what to do without it. The attentions of
    both are not decayed (ours, see `OptimizerSettings.build`).
    """

    Settings: ClassVar[type[MethodSettings]] = TalSettings
    settings: TalSettings
    loss_names: ClassVar[tuple[str, ...]] = ("expert", "adaptive", "invariant")

    def __init__(self, model: Model, facts: TrainingFacts, settings: TalSettings) -> None:
        """Adds the matcher of step 1.

        Raises:
            PasserbyError: when the model has no experts, there is one domain alone, or the two differ in number.
        """
        super().__init__(model, facts, settings)
        if not self.model.domains:
            raise PasserbyError("method.name=tal: the model has no experts; set model.norm to domain or domain-ibn-a")
        if facts.domains < 2:
            raise PasserbyError(
                "method.name=tal: one domain makes one expert; name several data.sources, or set data.domains to camera for one "
                "source with cameras"
            )
        if facts.domains != self.model.domains:
            raise PasserbyError(
                f"method.name=tal: the model has {self.model.domains} experts, the data {facts.domains} domains; leave "
                "model.bank.domains out to have them counted"
            )
        matcher = self.model.architecture.matcher
        if settings.leave_out and matcher.invariant != "mix" and matcher.specific not in ("attention", "average"):
            raise PasserbyError(
                f"method.leave_out={settings.leave_out}: nothing here weights experts for an image or a pair, so none can be left out; "
                "set it to 0"
            )
        if matcher.invariant == "batch":
            self.not_compiled = (
                "both streams of a step move one bank of statistics, which torch.compile would still need as it was; leave it or "
                "model.matcher.invariant=batch out"
            )
        layout = self.model.matcher.layout
        self._own = None
        if not isinstance(self._specific, VotingQAConv):
            self._own = MSQAConv(MapLayout(layout.channels, layout.sizes))
        for layer in model.modules():
            if isinstance(layer, DomainNorm2d):
                layer.mix_trains_affine = settings.mix_trains_affine

    @property
    def expert_matcher(self) -> MSQAConv:
        """The matcher of step 1; the model's own where experts vote."""
        if isinstance(self._specific, VotingQAConv):
            return self._specific.head
        assert self._own is not None
        return self._own

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of the three steps on one batch."""
        maps = [m[None] for m in self.model(batch.images, Route(batch.domain)).maps.values()]
        losses = {"expert": self.of_scores(self.expert_matcher.pairwise(maps), batch, "expert")}
        without = self.left_out(batch)
        if isinstance(self._specific, MSDAQAConv):
            with evaluating(self.model), torch.no_grad():
                maps = self.model.experts(batch.images)
            scorer = self._specific.scorer(None if without is None else _of_pairs(without))
            losses["adaptive"] = self.of_scores(self._specific.pairwise(maps, scorer), batch, "adaptive")
        if self._invariant is not None:
            route = replace(self.model.invariant_route(batch.images), without=without)
            maps = [m[None] for m in self.model(batch.images, route).maps.values()]
            losses["invariant"] = self.of_scores(self._invariant.pairwise(maps), batch, "invariant")
        return losses

    def left_out(self, batch: Batch) -> Tensor | None:
        """Experts that take no part for an image, bool [N, K]: its own, with probability `leave_out`; None: never."""
        if self.settings.leave_out == 0:
            return None
        generator = torch_generator(self.facts.seed, batch.step, self.global_rank, 2)
        chosen = torch.rand(len(batch.domain), generator=generator) < self.settings.leave_out
        own = F.one_hot(batch.domain, self.model.domains).bool()
        return own & chosen.to(own.device)[:, None]

    def compared(self, batch: Batch, name: str) -> Tensor | None:
        """All pairs; with `expert_pairs` of `domain`, for the experts those of one domain."""
        if name != "expert" or self.settings.expert_pairs == "batch":
            return None
        return batch.domain[:, None] == batch.domain[None, :]

    def graph_maps(self, images: Tensor, domain: Tensor) -> list[Tensor]:
        """By the domain-invariant stream where there is one, else each image by its own expert."""
        route = Route(domain) if self._invariant is None else self.model.invariant_route(images)
        return list(self.model(images, route).maps.values())

    @property
    def graph_matcher(self) -> MapMatcher:
        """The domain-invariant stream's where there is one, else the experts'."""
        return self._invariant or self.expert_matcher

    @property
    def _specific(self) -> MapMatcher | None:
        matcher = self.model.matcher
        if isinstance(matcher, TwoStreamQAConv):
            return matcher.specific
        return None if isinstance(matcher, MSQAConv) else matcher

    @property
    def _invariant(self) -> MSQAConv | None:
        matcher = self.model.matcher
        if isinstance(matcher, TwoStreamQAConv):
            return matcher.invariant
        return matcher if isinstance(matcher, MSQAConv) else None


def _of_pairs(without: Tensor) -> Tensor:
    """Experts that take no part in a pair's score, bool [N N, K]: those of either image; none where nobody would be left."""
    pairs = (without[:, None] | without[None, :]).flatten(0, 1)
    return pairs & ~pairs.all(1, keepdim=True)
