"""QAConv-GS: a matcher of places, trained by triplets in batches of people who look alike to it."""

from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from passerby.data.graph_sampling import GraphSampler
from passerby.data.sampling import BatchSampler, Indices
from passerby.data.training_set import Batch, TrainingSet
from passerby.errors import PasserbyError
from passerby.losses.score_pairs import PairwiseMatching
from passerby.losses.score_triplet import BatchHardScoreTriplet, Reduction, kinds_of_pairs
from passerby.matching.cosine import Cosine
from passerby.matching.map_matcher import MapMatcher
from passerby.methods.base import Method, MethodSettings, TrainingFacts
from passerby.methods.graph import Graph, nearest
from passerby.models.freeze import evaluating
from passerby.models.matching_model import MatchingModel, striped
from passerby.models.model import Model


class MatchingSettings(MethodSettings):
    """Parameters of training by the scores of pairs, for QAConv-GS and TAL."""

    loss: Literal["triplet", "pairwise"] = "triplet"
    """Batch-hard triplet on the scores (TAL, eq. 7), or binary cross-entropy on all pairs (QAConv-GS's second loss)."""
    margin: float = Field(16.0, ge=0)
    """Of the triplet, in units of the score (QAConv-GS)."""
    reduction: Reduction = "sum"
    """Over the anchors of a batch: eq. 7 sums."""
    graph: Literal["pooled", "matcher"] = "matcher"
    """What makes the graph sampler's distances: the matcher itself (the paper), or the cosine of the pooled maps, which costs
    next to nothing."""


class QaConvSettings(MatchingSettings):
    """Parameters of QAConv-GS."""

    name: Literal["qaconv"] = "qaconv"


class MatchingMethod(Method):
    """Base of methods that train a matcher by the scores of pairs within a batch."""

    settings: MatchingSettings
    model: MatchingModel
    trains_matcher = True

    def __init__(self, model: Model, facts: TrainingFacts, settings: MatchingSettings) -> None:
        """Takes a model with a matcher.

        Raises:
            PasserbyError: when it has none.
        """
        super().__init__(model, facts, settings)
        if not isinstance(model, MatchingModel):
            raise PasserbyError(
                f"method.name={settings.name}: the model compares by cosine; set model.matcher.kind to qaconv and model.stages to "
                "the stages that it matches"
            )
        self.criterion = (
            BatchHardScoreTriplet(settings.margin, settings.reduction)
            if settings.loss == "triplet"
            else PairwiseMatching(settings.reduction)
        )

    def of_scores(self, scores: Tensor, batch: Batch, name: str) -> Tensor:
        """The loss of a batch compared with itself; logs how often the scores are right.

        Args:
            scores: [N, N].
            batch: augmented.
            name: under which the accuracy is logged.
        """
        compared = self.compared(batch, name)
        self.log(f"{name}_accuracy", _right(scores.detach(), batch.identity, compared), batch_size=len(scores))
        loss: Tensor = self.criterion(scores, batch.identity, compared)
        return loss

    def compared(self, batch: Batch, name: str) -> Tensor | None:
        """Pairs that count in the loss of that name, bool [N, N]; None: all."""
        return None

    def prepare_sampler(self, sampler: BatchSampler, training_set: TrainingSet) -> None:
        """Tells the graph sampler whom to ask."""
        if isinstance(sampler, GraphSampler):
            sampler.nearest = partial(self._nearest, training_set)

    def graph_maps(self, images: Tensor, domain: Tensor) -> list[Tensor]:
        """Maps of each stage [N, C, h, w] that the graph is made from.

        Args:
            images: float [N, 3, H, W], normalised, not augmented.
            domain: int64 [N].
        """
        return list(self.model(images).maps.values())

    @property
    def graph_matcher(self) -> MapMatcher:
        """What compares `graph_maps`: a matcher of one view."""
        return self.model.matcher

    def _nearest(self, training_set: TrainingSet, shown: Indices, anchors: Indices, count: int) -> Indices:
        pooled = self.settings.graph == "pooled"

        def describe(indices: Indices) -> Tensor:
            pixels = training_set.gather(indices).to(self.device)
            domain = torch.from_numpy(training_set.domain[indices]).to(self.device)
            maps = self.graph_maps(self.model.preprocessing.normalise(pixels), domain)
            if pooled:
                # Of whole maps: by stripes a graph finds people too alike to learn from in a short run.
                return F.normalize(striped(maps, 1))
            return self.graph_matcher.layout.row([m[None] for m in maps]).half()

        with evaluating(self):
            return nearest(Graph(describe, Cosine() if pooled else self.graph_matcher), shown, anchors, count)


class QaConv(MatchingMethod):
    """Liao & Shao, "Graph Sampling Based Deep Metric Learning for Generalizable Person Re-Identification", CVPR 2022.

    QAConv on the maps of one or several stages (on two it is the baseline of TAL), batch-hard triplet on its scores, batches of
    people who look alike to the model as it is at the start of each graph.
    """

    Settings: ClassVar[type[MethodSettings]] = QaConvSettings
    loss_names: ClassVar[tuple[str, ...]] = ("match",)

    def __init__(self, model: Model, facts: TrainingFacts, settings: QaConvSettings) -> None:
        """Takes a model that looks at an image once.

        Raises:
            PasserbyError: when it has streams of experts, or no matcher.
        """
        super().__init__(model, facts, settings)
        if self.model.domains:
            raise PasserbyError(
                "method.name=qaconv: the model has experts; train it by method.name=tal, or set model.norm to batch or ibn-a"
            )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss on the scores of a batch."""
        maps = [m[None] for m in self.model(batch.images).maps.values()]
        return {"match": self.of_scores(self.model.matcher.pairwise(maps), batch, "match")}


def _right(scores: Tensor, identity: Tensor, compared: Tensor | None) -> Tensor:
    """Share of the anchors whose lowest positive scores higher than their highest negative."""
    positive, negative = kinds_of_pairs(identity, compared)
    usable = positive.any(1) & negative.any(1)
    lowest = scores.masked_fill(~positive, torch.inf).amin(1)
    highest = scores.masked_fill(~negative, -torch.inf).amax(1)
    return (lowest > highest)[usable].float().sum() / usable.sum().clamp(min=1)
