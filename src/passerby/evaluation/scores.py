"""Scores of a split, as often as they are asked for."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from passerby.evaluation.reranking import rerank
from passerby.matching.cosine import Cosine


@dataclass(frozen=True)
class Scores:
    """Scores of queries against a gallery, higher is more alike.

    Attributes:
        blocks: gives them in blocks of queries, [n, G] each; a block may overwrite the one before.
        low: no score is lower.
        high: no score is higher.
    """

    blocks: Callable[[], Iterable[Tensor]]
    low: float = -1.0
    high: float = 1.0


def cosine_scores(query: Tensor, gallery: Tensor) -> Scores:
    """Of embeddings [Q, D] and [G, D], rows of length 1."""
    return Scores(lambda: Cosine().blocks(query, gallery))


def reranked_scores(query: Tensor, gallery: Tensor) -> Scores:
    """Of the same, re-ranked by k-reciprocal neighbours."""
    return Scores(lambda: [rerank(query, gallery)])
