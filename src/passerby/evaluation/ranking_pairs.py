"""Verification: how well one threshold on the score tells pairs of the same person from pairs of different people."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from passerby.errors import PasserbyError
from passerby.evaluation.ranking_labels import Labels

BINS = 1 << 16


@dataclass(frozen=True)
class PairHistogram:
    """Scores of all pairs (query, gallery image) that are not junk, in 65,536 bins of equal width.

    Attributes:
        same: [65536] int64, pairs of the same person by score, from `low` up.
        different: [65536] int64, the other pairs; a distractor makes a pair of different people with everybody.
        low: where the first bin begins; lower scores are counted in it.
        high: where the last bin ends; higher scores are counted in it.
    """

    same: Tensor
    different: Tensor
    low: float
    high: float

    def tpr(self, fpr: float) -> float:
        """True-positive rate at a false-positive rate: the share of same pairs that a threshold accepts.

        The threshold is the lowest edge of a bin from which on at most `fpr` of the different pairs score. The
        resolution is (high - low) / 65536, 3.1e-5 for cosines; the figure is never better than the exact one.

        Args:
            fpr: accepted share of different pairs, between 0 and 1.
        """
        accepted = self.different.flip(0).cumsum(0) <= fpr * int(self.different.sum())
        return int(self.same.flip(0)[accepted].sum()) / int(self.same.sum())

    def coarse(self, bins: int) -> tuple[Tensor, Tensor, Tensor]:
        """The same counts in fewer bins, to draw: edges [bins + 1], same [bins], different [bins].

        Args:
            bins: a power of two up to 65536.
        """
        edges = torch.linspace(self.low, self.high, bins + 1)
        return edges, self.same.view(bins, -1).sum(1), self.different.view(bins, -1).sum(1)


class PairCounter:
    """Counts the scores of pairs that come in blocks, beside a `Ranker` where scores are dear.

    Args:
        labels: of all queries and the gallery.
        low: the lowest score to tell apart.
        high: the highest score to tell apart.
    """

    def __init__(self, labels: Labels, low: float = -1.0, high: float = 1.0) -> None:
        self.labels = labels
        self._low, self._high = low, high
        self._seen = 0
        self._all = torch.zeros(BINS, dtype=torch.int64)
        self._same = torch.zeros(BINS, dtype=torch.int64)
        self._junk = torch.zeros(BINS, dtype=torch.int64)

    def add(self, scores: Tensor) -> None:
        """Takes the scores [n, G] float32 of the next n queries; higher is more alike.

        Raises:
            PasserbyError: when the block does not fit the labels or holds NaN.
        """
        end = self.labels.check_block(scores, self._seen)
        if torch.isnan(scores.amax()):
            raise PasserbyError(f"scores: NaN for one of the queries {self._seen} to {end - 1}; check the model")
        group = self.labels.group(self._seen, end)
        own = scores.gather(1, group.index.to(scores.device)).cpu()
        self._all += self._count(scores.flatten())
        self._same += self._count(own[group.match])
        self._junk += self._count(own[group.junk])
        self._seen = end

    def result(self) -> PairHistogram:
        """The counts, once the scores of all queries have been added.

        Raises:
            PasserbyError: when scores are missing, or all pairs are of one kind.
        """
        self.labels.check_complete(self._seen)
        different = self._all - self._same - self._junk
        for kind, count in (("the same person", self._same), ("different people", different)):
            if not count.any():
                raise PasserbyError(f"pairs: none of {kind} between query and gallery; check the identities of both")
        return PairHistogram(self._same, different, self._low, self._high)

    def _count(self, scores: Tensor) -> Tensor:
        scale = BINS / (self._high - self._low)
        bins = scores.sub(self._low).mul_(scale).clamp_(0, BINS - 1).int()
        return torch.bincount(bins, minlength=BINS).cpu()


def pair_histogram(blocks: Iterable[Tensor], labels: Labels, low: float = -1.0, high: float = 1.0) -> PairHistogram:
    """Counts the scores of all pairs that are not junk, in memory that does not grow with the number of pairs.

    Args:
        blocks: scores [n, G] float32 of the queries in their order, higher is more alike; `Cosine().blocks` for features.
        labels: of all queries and the gallery.
        low: the lowest score to tell apart.
        high: the highest score to tell apart.

    Raises:
        PasserbyError: when the blocks do not fit the labels or hold NaN, or all pairs are of one kind.
    """
    counter = PairCounter(labels, low, high)
    for scores in blocks:
        counter.add(scores)
    return counter.result()
