"""Ranked galleries to look at: the queries that a model answers best and worst."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from passerby.data.sample import DISTRACTOR, Sample
from passerby.evaluation.measure import Measurement, SplitOutcome
from passerby.evaluation.ranking_topk import top_k_scores
from passerby.report.thumbnails import Thumbnail, thumbnail

ROWS, COLUMNS = 5, 10


@dataclass(frozen=True)
class Tile:
    """One gallery image in the answer to a query.

    Attributes:
        picture: the image.
        sample: what it shows.
        rank: from 1 on.
        score: higher is more alike.
        right: whether it shows the person who is searched for; a distractor never does.
    """

    picture: Thumbnail
    sample: Sample
    rank: int
    score: float
    right: bool

    @property
    def who(self) -> str:
        """Whom it shows, in words."""
        if self.right:
            return "the same person"
        return "a distractor" if self.sample.identity == DISTRACTOR else "another person"


@dataclass(frozen=True)
class Answer:
    """One query and the best of the gallery.

    Attributes:
        picture: the query image.
        sample: what it shows.
        average_precision: a fraction.
        matches: right images in the gallery.
        first_rank: rank of the first right one, ties counted against the model.
        tiles: at most 10, best first; junk is left out.
        first_right: the first right one, where it does not stand among the tiles.
    """

    picture: Thumbnail
    sample: Sample
    average_precision: float
    matches: int
    first_rank: int
    tiles: tuple[Tile, ...]
    first_right: Tile | None


@dataclass(frozen=True)
class _Answers:
    """What the galleries need of all Q queries of a split.

    Attributes:
        positions: [Q, k] gallery positions, best first, -1 where there are no more.
        scores: [Q, k] their scores.
        best_match: [Q] gallery position of the match with the highest score.
        match_score: [Q] its score.
        other_score: [Q] highest score of an image that does not show the query's person; minus infinity where there
            is none.
        matches: [Q] number of matches. Where it is 0, the three above mean nothing.
    """

    positions: Tensor
    scores: Tensor
    best_match: Tensor
    match_score: Tensor
    other_score: Tensor
    matches: Tensor


def best_and_worst(measurement: Measurement) -> tuple[list[Answer], list[Answer]]:
    """Up to 5 queries of the first split with the highest and up to 5 with the lowest average precision.

    The extreme one comes first. Of equal precision the score margin decides: the best match's score less that of the
    best wrong image. Every person is shown once in a list, and no query in both.
    """
    outcome = measurement.outcomes[0]
    answers = _answers(measurement, outcome)
    margin = (answers.match_score - answers.other_score).numpy()
    matched = outcome.ranking.matched.nonzero()[:, 0].numpy()
    precision = outcome.ranking.average_precision.numpy()
    order = matched[np.lexsort((-margin[matched], -precision[matched]))]
    half = (len(order) + 1) // 2
    best, worst = order[:half], order[half:][::-1]
    people = outcome.labels.query_ids.numpy()
    return (
        [_answer(outcome, answers, query) for query in _one_each(best, people)],
        [_answer(outcome, answers, query) for query in _one_each(worst, people)],
    )


def _one_each(order: NDArray[np.int64], people: NDArray[np.int64]) -> list[int]:
    """The first `ROWS` queries in `order` that show different people."""
    first = np.unique(people[order], return_index=True)[1]
    return [int(query) for query in order[np.sort(first)[:ROWS]]]


def _answers(measurement: Measurement, outcome: SplitOutcome) -> _Answers:
    """One pass over the scores, which are dear when they are re-ranked."""
    labels = outcome.labels
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def watched() -> Iterator[Tensor]:
        seen = 0
        for scores in measurement.scores(outcome):
            group = labels.group(seen, seen + len(scores))
            index, match = group.index.to(scores.device), group.match.to(scores.device)
            best, slot = scores.gather(1, index).masked_fill(~match, -torch.inf).max(1, keepdim=True)
            others = scores.scatter(1, index, -torch.inf).amax(1)
            found.append((index.gather(1, slot)[:, 0].cpu(), best[:, 0].cpu(), others.cpu(), group.match.sum(1)))
            seen += len(scores)
            yield scores

    positions, scores = top_k_scores(watched(), labels, COLUMNS)
    return _Answers(positions, scores, *(torch.cat(part) for part in zip(*found, strict=True)))


def _answer(outcome: SplitOutcome, answers: _Answers, query: int) -> Answer:
    sample = outcome.split.query[query]

    def tile(position: int, rank: int, score: float) -> Tile:
        shown = outcome.split.gallery[position]
        return Tile(thumbnail(shown.image), shown, rank, score, shown.identity == sample.identity)

    positions = [p for p in answers.positions[query].tolist() if p >= 0]
    tiles = tuple(
        tile(position, rank, float(answers.scores[query, rank - 1])) for rank, position in enumerate(positions, start=1)
    )
    first_rank = int(outcome.ranking.first_rank[query])
    first_right = None
    if not any(t.right for t in tiles):
        first_right = tile(int(answers.best_match[query]), first_rank, float(answers.match_score[query]))
    return Answer(
        thumbnail(sample.image),
        sample,
        float(outcome.ranking.average_precision[query]),
        int(answers.matches[query]),
        first_rank,
        tiles,
        first_right,
    )
