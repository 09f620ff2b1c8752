"""Ranking metrics of re-identification: CMC, mAP and mINP, exact, without a full score matrix."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from passerby.errors import PasserbyError
from passerby.evaluation.ranking_counts import match_ranks
from passerby.evaluation.ranking_labels import Labels
from passerby.matching.cosine import Cosine


@dataclass(frozen=True)
class RankingResult:
    """What ranking found for each of Q queries, on the CPU; means are taken over the queries that have a match.

    Attributes:
        matched: [Q] bool, whether the gallery holds a match for the query; the others do not count.
        first_rank: [Q] int64, rank of the best match, from 1 on; 0 where there is none.
        average_precision: [Q] float64, AP = mean over the matches of the precision at their ranks; NaN where there is
            none.
        inverse_penalty: [Q] float64, INP = number of matches / rank of the last match (Ye et al., "Deep Learning for
            Person Re-identification: A Survey and Outlook", TPAMI 2021); NaN where there is none.
    """

    matched: Tensor
    first_rank: Tensor
    average_precision: Tensor
    inverse_penalty: Tensor

    @property
    def unmatched(self) -> int:
        """Number of queries without any match, which are left out of every mean."""
        return int((~self.matched).sum())

    @property
    def mean_ap(self) -> float:
        """mAP, a fraction."""
        return float(self.average_precision[self.matched].mean())

    @property
    def mean_inp(self) -> float:
        """mINP, a fraction."""
        return float(self.inverse_penalty[self.matched].mean())

    def cmc(self, max_rank: int = 50) -> Tensor:
        """[max_rank] float64: the fraction of queries whose best match is among the first 1, 2, ..., `max_rank`."""
        hits = torch.bincount(self.first_rank[self.matched].clamp(max=max_rank + 1), minlength=max_rank + 2)
        return hits[1:-1].cumsum(0).double() / int(self.matched.sum())


class Ranker:
    """Ranks the gallery for queries whose scores come in blocks, from any matcher.

    Ties are counted against the model: what does not match goes before a match of the same score. So a model that gives
    everything the same score is no good, and the result does not depend on the order of the gallery.

    Example:
        >>> ranker = Ranker(Labels(torch.tensor([7]), torch.tensor([5, 7, 7])))
        >>> ranker.add(torch.tensor([[0.5, 0.9, 0.1]]))
        >>> round(ranker.result().mean_ap, 4)
        0.8333
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        queries = labels.shape[0]
        self._seen = 0
        self._first_rank = torch.zeros(queries, dtype=torch.int64)
        self._average_precision = torch.full((queries,), torch.nan, dtype=torch.float64)
        self._inverse_penalty = torch.full((queries,), torch.nan, dtype=torch.float64)

    def add(self, scores: Tensor) -> None:
        """Takes the scores [n, G] float32 of the next n queries; higher is more alike.

        Raises:
            PasserbyError: when the block does not fit the labels or holds NaN or infinity.
        """
        end = self.labels.check_block(scores, self._seen)
        rows = slice(self._seen, end)
        group = self.labels.group(self._seen, end)
        ranks = match_ranks(scores, group)
        if not ranks.all():
            raise PasserbyError(
                f"scores: NaN or infinity for query {self._seen + int((ranks == 0).any(1).int().argmax())}; "
                "check the model"
            )
        matches = group.match.sum(1)
        matched = matches > 0
        number = torch.arange(1, ranks.shape[1] + 1)
        precision = (number / ranks.double()).where(number <= matches[:, None], 0.0)
        last_rank = ranks.gather(1, (matches - 1).clamp(min=0)[:, None])[:, 0]
        self._first_rank[rows] = ranks[:, 0].where(matched, 0)
        self._average_precision[rows] = precision.sum(1) / matches.where(matched, torch.nan)
        self._inverse_penalty[rows] = matches.double().where(matched, torch.nan) / last_rank
        self._seen = end

    def result(self) -> RankingResult:
        """What was found, once the scores of all queries have been added.

        Raises:
            PasserbyError: when scores are missing, or no query has a match.
        """
        self.labels.check_complete(self._seen)
        matched = self._first_rank > 0
        if not matched.any():
            raise PasserbyError(
                f"ranking: none of the {len(matched)} queries has a match in the gallery; check that identities are "
                "the same on both sides, and that not every match comes from the query's own camera"
            )
        return RankingResult(matched, self._first_rank, self._average_precision, self._inverse_penalty)


def rank_scores(blocks: Iterable[Tensor], labels: Labels) -> RankingResult:
    """Ranks the gallery by given scores.

    Args:
        blocks: scores [n, G] float32 of the queries in their order, higher is more alike; a matrix is one block.
        labels: of all queries and the gallery.

    Raises:
        PasserbyError: as `Ranker.add` and `Ranker.result` do.
    """
    ranker = Ranker(labels)
    for scores in blocks:
        ranker.add(scores)
    return ranker.result()


def rank(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor | None = None,
    gallery_cameras: Tensor | None = None,
) -> RankingResult:
    """Ranks the gallery by the cosine to each query.

    Args:
        query: [Q, D] float32, L2-normalised.
        gallery: [G, D] float32, L2-normalised.
        query_ids: [Q] integers.
        gallery_ids: [G] integers, -1 for distractors.
        query_cameras: [Q] integers, -1 where unknown, or None.
        gallery_cameras: [G] integers, -1 where unknown, or None.

    Raises:
        PasserbyError: when sizes do not go together, a feature is not finite, or no query has a match.
    """
    labels = Labels(query_ids, gallery_ids, query_cameras, gallery_cameras)
    return rank_scores(Cosine().blocks(query, gallery), labels)
