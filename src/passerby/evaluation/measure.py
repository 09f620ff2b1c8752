"""One embedder on one target: every image embedded once, every split ranked."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, pstdev

import torch
from torch import Tensor

from passerby.data.sample import Sample
from passerby.evaluation.bootstrap import identity_bootstrap
from passerby.evaluation.ranking import Ranker, RankingResult
from passerby.evaluation.ranking_blocks import cosine_blocks
from passerby.evaluation.ranking_labels import NO_CAMERA, Labels
from passerby.evaluation.ranking_pairs import PairCounter, PairHistogram
from passerby.evaluation.records import MetricValues
from passerby.evaluation.reranking import rerank
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
        labels: its identities and cameras.
        ranking: ranks by query.
        cmc: [MAX_RANK] float64, single gallery shot where the target asks for it.
        pairs: scores of same and of different people.
    """

    split: Split
    labels: Labels
    ranking: RankingResult
    cmc: Tensor
    pairs: PairHistogram


@dataclass(frozen=True)
class Measurement:
    """What an embedder did on a target.

    Attributes:
        target: the target.
        features: [N, D] embeddings of its images, rows of length 1.
        rows: row of each sample in `features`.
        outcomes: one a split.
        reranked: whether scores were re-ranked.
    """

    target: Target
    features: Tensor
    rows: dict[Sample, int]
    outcomes: tuple[SplitOutcome, ...]
    reranked: bool

    def scores(self, split: Split) -> Iterable[Tensor]:
        """Scores of a split in blocks of queries, [n, G] each, higher is more alike."""
        return _scores(self.features, self.rows, split, self.reranked)

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


def measure(
    embedder: Embedder, target: Target, *, reranked: bool = False, flip: bool = False, progress: bool = False
) -> Measurement:
    """Embeds every image of a target once and ranks every split.

    Args:
        embedder: any model.
        target: what to measure on.
        reranked: re-rank by k-reciprocal neighbours.
        flip: average the embeddings of an image and its mirror image.
        progress: show a bar.

    Raises:
        PasserbyError: when an image cannot be read or a split has no query with a match.
    """
    samples = target.samples
    rows = {sample: row for row, sample in enumerate(samples)}
    features = embedder.embed([s.image for s in samples], flip=flip, progress=progress)
    outcomes = tuple(_rank_split(features, rows, target, split, reranked) for split in target.splits)
    return Measurement(target, features, rows, outcomes, reranked)


def _rank_split(
    features: Tensor, rows: dict[Sample, int], target: Target, split: Split, reranked: bool
) -> SplitOutcome:
    labels = Labels(
        _identities(split.query), _identities(split.gallery), _cameras(split.query), _cameras(split.gallery)
    )
    ranker, counter = Ranker(labels), PairCounter(labels)
    for scores in _scores(features, rows, split, reranked):
        ranker.add(scores)
        counter.add(scores)
    ranking = ranker.result()
    cmc = ranking.cmc(MAX_RANK)
    if target.single_gallery_shot:
        cmc = single_shot_cmc(_scores(features, rows, split, reranked), labels, MAX_RANK)
    return SplitOutcome(split, labels, ranking, cmc, counter.result())


def _scores(features: Tensor, rows: dict[Sample, int], split: Split, reranked: bool) -> Iterable[Tensor]:
    query, gallery = (features[[rows[s] for s in side]] for side in (split.query, split.gallery))
    return [rerank(query, gallery)] if reranked else cosine_blocks(query, gallery)


def _identities(samples: tuple[Sample, ...]) -> Tensor:
    return torch.tensor([s.identity for s in samples])


def _cameras(samples: tuple[Sample, ...]) -> Tensor:
    return torch.tensor([NO_CAMERA if s.camera is None else s.camera for s in samples])
