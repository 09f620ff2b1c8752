from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from passerby.data.sample import Sample
from passerby.evaluation.measure import Measurement, measure
from passerby.report.galleries import COLUMNS, ROWS, Answer, best_and_worst


def scores(measurement: Measurement) -> torch.Tensor:
    return torch.cat(list(measurement.scores(measurement.outcomes[0])))


def make_again(measurement: Measurement, query: tuple[Sample, ...]) -> Measurement:
    """The same features with other queries."""
    first = measurement.outcomes[0]
    split = replace(first.split, query=query)
    known = dict(zip(first.split.query, first.query, strict=True)) | dict(
        zip(first.split.gallery, first.gallery, strict=True)
    )
    features = torch.stack([known[sample] for sample in query])
    return measure(replace(measurement.target, splits=(split,)), lambda _: (features, first.gallery))


def plain(measurement: Measurement, answer: Answer) -> list[tuple[str, float, bool]]:
    """File, score and rightness of the ranked gallery of a query, junk left out, by a plain loop."""
    split = measurement.outcomes[0].split
    row = scores(measurement)[split.query.index(answer.sample)]
    kept = [
        (shown.image.name, float(score), shown.identity == answer.sample.identity)
        for shown, score in zip(split.gallery, row, strict=True)
        if not (shown.identity == answer.sample.identity and shown.camera == answer.sample.camera)
    ]
    return sorted(kept, key=lambda entry: -entry[1])


Make = Callable[..., Measurement]


@pytest.mark.parametrize("reranked", [False, True])
def test_rows_show_the_ranked_gallery_without_junk(make: Make, reranked: bool) -> None:
    measurement = make(noise=1.2, reranked=reranked)
    best, worst = best_and_worst(measurement)
    assert len(best) == len(worst) == ROWS
    for answer in best + worst:
        expected = plain(measurement, answer)
        shown = [(tile.sample.image.name, tile.score, tile.right) for tile in answer.tiles]
        assert [(name, right) for name, _, right in shown] == [(name, right) for name, _, right in expected[:COLUMNS]]
        assert [score for _, score, _ in shown] == pytest.approx([score for _, score, _ in expected[:COLUMNS]])
        assert [tile.rank for tile in answer.tiles] == list(range(1, COLUMNS + 1))
        first = next(rank for rank, entry in enumerate(expected, start=1) if entry[2])
        assert answer.first_rank == first
        assert answer.matches == sum(right for _, _, right in expected) == 1
        assert answer.average_precision == pytest.approx(1 / first)
        if first <= COLUMNS:
            assert answer.first_right is None
        else:
            tile = answer.first_right
            assert tile is not None
            assert (tile.sample.image.name, tile.rank, tile.right) == (expected[first - 1][0], first, True)
            assert tile.score == pytest.approx(expected[first - 1][1])


def test_a_first_right_one_beyond_the_tiles_is_met(make: Make) -> None:
    # With features that say nothing some query finds its person late: the case above is not an empty one.
    _, worst = best_and_worst(make(people=30, noise=9))
    assert any(answer.first_right for answer in worst)
    assert all((answer.first_right is None) == (answer.first_rank <= COLUMNS) for answer in worst)


def test_best_and_worst_are_the_extremes_and_the_margin_decides_ties(make: Make) -> None:
    measurement = make(people=20, noise=0.6)
    outcome = measurement.outcomes[0]
    precision = outcome.ranking.average_precision
    margins = []
    for query, row in zip(outcome.split.query, scores(measurement), strict=True):
        match = [
            s for g, s in zip(outcome.split.gallery, row, strict=True) if g.identity == query.identity and g.camera == 1
        ]
        other = [s for g, s in zip(outcome.split.gallery, row, strict=True) if g.identity != query.identity]
        margins.append(float(max(match) - max(other)))
    order = sorted(range(len(margins)), key=lambda q: (-float(precision[q]), -margins[q]))
    best, worst = best_and_worst(measurement)
    assert float((precision == 1).sum()) > ROWS
    assert [outcome.split.query.index(a.sample) for a in best] == order[:ROWS]
    assert [outcome.split.query.index(a.sample) for a in worst] == order[::-1][:ROWS]


def test_a_person_is_shown_once_and_a_query_in_one_list(make: Make) -> None:
    measurement = make(people=4)
    split = measurement.outcomes[0].split
    # Twice as many queries of the same four people: the junk serves as a second query image of everyone.
    measurement = make_again(measurement, (*split.query, *split.gallery[:4]))
    best, worst = best_and_worst(measurement)
    for rows in (best, worst):
        assert 1 <= len(rows) <= 4
        assert len({answer.sample.identity for answer in rows}) == len(rows)
    assert not {answer.sample for answer in best} & {answer.sample for answer in worst}


def test_one_query(make: Make) -> None:
    best, worst = best_and_worst(make(people=1, splits=1))
    assert (len(best), len(worst)) == (1, 0)


def test_a_small_gallery_gives_short_rows(make: Make) -> None:
    best, _ = best_and_worst(make(people=3, distractors=2))
    # 3 junk + 3 right + 2 distractors, of which the query's own junk is left out.
    assert [len(answer.tiles) for answer in best] == [7] * len(best)


def test_distractors_are_wrong_and_named(make: Make) -> None:
    best, worst = best_and_worst(make(people=3, distractors=4, noise=1))
    tiles = [tile for answer in best + worst for tile in answer.tiles]
    words = {tile.sample.identity == -1: tile.who for tile in tiles if not tile.right}
    assert words == {True: "a distractor", False: "another person"}
    assert {tile.who for tile in tiles if tile.right} == {"the same person"}


def test_a_query_without_a_match_is_not_shown(make: Make) -> None:
    measurement = make(people=6)
    split = measurement.outcomes[0].split
    stranger = next(s for s in split.gallery if s.identity == -1)
    shown = best_and_worst(make_again(measurement, (stranger, *split.query)))
    assert stranger not in {answer.sample for rows in shown for answer in rows}
    assert sum(map(len, shown)) == 6
