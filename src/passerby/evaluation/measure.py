"""One embedder on one target: every split ranked."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean, pstdev

import torch
from rich.progress import track
from torch import Tensor

from passerby.data.sample import Sample
from passerby.evaluation.bootstrap import identity_bootstrap
from passerby.evaluation.ranking import Ranker, RankingResult
from passerby.evaluation.ranking_labels import NO_CAMERA, Labels
from passerby.evaluation.ranking_pairs import PairCounter, PairHistogram
from passerby.evaluation.records import MetricValues
from passerby.evaluation.scores import Scores, cosine_scores, reranked_scores
from passerby.evaluation.single_shot import single_shot_cmc
from passerby.evaluation.targets import Split, Target
from passerby.models.embedder import Embedder

CMC_RANKS = (1, 5, 10, 20)
FALSE_POSITIVE_RATES = (1e-4, 1e-3, 1e-2, 1e-1)
MAX_RANK = 50


@dataclass(frozen=True)
class SplitOutcome:
    """What ranking gave on one split.

    Attributes:
        split: the split.
        query, gallery: [Q, D] and [G, D], embeddings of its images, rows of length 1.
        scores: of its pairs.
        labels: its identities and cameras.
        ranking: ranks by query.
        cmc: [MAX_RANK] float64, single gallery shot where the target asks for it.
        pairs: scores of same and of different people.
    """

    split: Split
    query: Tensor
    gallery: Tensor
    scores: Scores
    labels: Labels
    ranking: RankingResult
    cmc: Tensor
    pairs: PairHistogram


@dataclass(frozen=True)
class Measurement:
    """What an embedder did on a target.

    Attributes:
        target: the target.
        outcomes: one a split.
        reranked: whether scores were re-ranked.
    """

    target: Target
    outcomes: tuple[SplitOutcome, ...]
    reranked: bool

    def scores(self, outcome: SplitOutcome) -> Iterable[Tensor]:
        """Scores of a split in blocks of queries, [n, G] each, higher is more alike."""
        return outcome.scores.blocks()

    def metrics(self) -> dict[str, MetricValues]:
        """rank-k, mAP, mINP and TPR@FPR over the splits, as fractions.

        The intervals are bootstrapped over identities, all splits together; TPR@FPR, which is no mean over queries, has none.
        """
        values = {
            f"rank{k}": self._over_splits([float(o.cmc[k - 1]) for o in self.outcomes], self._hits(k))
            for k in CMC_RANKS
        }
        precision = [o.ranking.average_precision[o.ranking.matched] for o in self.outcomes]
        values["mAP"] = self._over_splits([o.ranking.mean_ap for o in self.outcomes], torch.cat(precision))
        penalty = [o.ranking.inverse_penalty[o.ranking.matched] for o in self.outcomes]
        values["mINP"] = self._over_splits([o.ranking.mean_inp for o in self.outcomes], torch.cat(penalty))
        for rate in FALSE_POSITIVE_RATES:
            values[f"tpr@fpr={rate:g}"] = self._over_splits([o.pairs.tpr(rate) for o in self.outcomes], None)
        return values

    def _hits(self, k: int) -> Tensor | None:
        """Whether each counted query has a match among its first k; None where a rank is a mean over random galleries."""
        if self.target.single_gallery_shot:
            return None
        return torch.cat([(o.ranking.first_rank[o.ranking.matched] <= k).double() for o in self.outcomes])

    def _over_splits(self, per_split: list[float], by_query: Tensor | None) -> MetricValues:
        low = high = None
        if by_query is not None:
            people = torch.cat([o.labels.query_ids[o.ranking.matched] for o in self.outcomes])
            low, high = identity_bootstrap(by_query.numpy(), people.numpy())
        return MetricValues(
            mean=fmean(per_split), std=pstdev(per_split), low=low, high=high, per_split=tuple(per_split)
        )


SplitFeatures = Callable[[Split], tuple[Tensor, Tensor]]
"""Gives the embeddings [Q, D] of a split's queries and [G, D] of its gallery, rows of length 1."""


SplitScores = Callable[[Split, Tensor, Tensor], Scores]
"""Gives the scores of a split whose queries and gallery have these embeddings."""


def embedded(embedder: Embedder, target: Target, *, flip: bool = False, progress: bool = False) -> SplitFeatures:
    """Embeds every image of a target once, for all its splits.

    Args:
        embedder: any model.
        target: what to measure on.
        flip: average the embeddings of an image and its mirror image.
        progress: show a bar.

    Raises:
        PasserbyError: when an image cannot be read.
    """
    samples = target.samples
    rows = {sample: row for row, sample in enumerate(samples)}
    features = embedder.embed([s.image for s in samples], flip=flip, progress=progress)

    def of_split(split: Split) -> tuple[Tensor, Tensor]:
        query, gallery = (features[[rows[s] for s in side]] for side in (split.query, split.gallery))
        return query, gallery

    return of_split


def measure(
    target: Target,
    features: SplitFeatures,
    *,
    scores: SplitScores | None = None,
    reranked: bool = False,
    progress: bool = False,
) -> Measurement:
    """Ranks every split of a target.

    Args:
        target: what to measure on.
        features: of its splits; see `embedded`.
        scores: of its splits; None: cosines of the embeddings.
        reranked: re-rank these by k-reciprocal neighbours.
        progress: show a bar where there is more than one split.

    Raises:
        PasserbyError: when a split has no query with a match.
    """
    splits = track(
        target.splits, f"splits of {target.name}", transient=True, disable=not progress or len(target.splits) == 1
    )
    cosine = reranked_scores if reranked else cosine_scores
    scored = scores or (lambda _, query, gallery: cosine(query, gallery))
    return Measurement(target, tuple(_rank_split(features, scored, target, split) for split in splits), reranked)


def _rank_split(features: SplitFeatures, scored: SplitScores, target: Target, split: Split) -> SplitOutcome:
    query, gallery = features(split)
    labels = Labels(
        _identities(split.query), _identities(split.gallery), _cameras(split.query), _cameras(split.gallery)
    )
    scores = scored(split, query, gallery)
    ranker, counter = Ranker(labels), PairCounter(labels, scores.low, scores.high)
    for block in scores.blocks():
        ranker.add(block)
        counter.add(block)
    ranking = ranker.result()
    cmc = ranking.cmc(MAX_RANK)
    if target.single_gallery_shot:
        cmc = single_shot_cmc(scores.blocks(), labels, MAX_RANK)
    return SplitOutcome(split, query, gallery, scores, labels, ranking, cmc, counter.result())


def _identities(samples: tuple[Sample, ...]) -> Tensor:
    return torch.tensor([s.identity for s in samples])


def _cameras(samples: tuple[Sample, ...]) -> Tensor:
    return torch.tensor([NO_CAMERA if s.camera is None else s.camera for s in samples])
