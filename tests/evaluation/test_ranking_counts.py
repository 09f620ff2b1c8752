"""Ranks by counting: shortened rows, whole rows and torch's sort give the same ranks, and bad scores are found."""

import threading

import pytest
import torch
from torch import Tensor

from passerby.denormals import denormals_are_zero
from passerby.evaluation.ranking_counts import _sorted_ranks, match_ranks
from passerby.evaluation.ranking_labels import Group, Labels


def task(gain: float, levels: int) -> tuple[Tensor, Group]:
    """Scores [70, 400] of a model as good as `gain`, and who matches whom; with distractors, junk and ties."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(-1, 30, (470,), generator=generator)
    ids[0] = -1
    cameras = torch.randint(0, 3, (470,), generator=generator)
    scores = torch.randn(70, 400, generator=generator) + gain * (ids[:70, None] == ids[70:])
    return (scores * levels).round() / levels, Labels(ids[:70], ids[70:], cameras[:70], cameras[70:]).group(0, 70)


@pytest.mark.parametrize("gain", [0.0, 2.0, 6.0])
@pytest.mark.parametrize("levels", [2, 10**4])
def test_ranks_are_counts(gain: float, levels: int) -> None:
    scores, group = task(gain, levels)
    before = scores.clone()
    ranks = match_ranks(scores, group)
    assert torch.equal(scores, before)
    assert torch.equal(match_ranks(scores.T.contiguous().T, group), ranks)
    matches = group.match.sum(1)
    assert matches.max() > 5
    for q in range(70):
        own = scores[q, group.index[q]]
        others = torch.ones(400, dtype=torch.bool)
        others[group.index[q]] = False
        others = scores[q][others | (matches[q] == 0)]
        found = own[group.match[q]].sort(descending=True).values
        expected = [k + int((others >= s).sum()) for k, s in enumerate(found, start=1)]
        assert ranks[q, : matches[q]].tolist() == expected
        assert _sorted_ranks(scores, group)[q, : matches[q]].tolist() == expected


def test_a_lowest_match_at_zero_counts_no_more_where_tiny_numbers_are_zero() -> None:
    scores, group = task(2.0, 2)
    assert (scores == 0).any()
    seen = []

    def work() -> None:
        with denormals_are_zero():
            seen.append(match_ranks(scores, group))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert torch.equal(seen[0], match_ranks(scores, group))


@pytest.mark.parametrize("gain", [0.0, 6.0])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_bad_scores_give_rank_0(gain: float, bad: float) -> None:
    scores, group = task(gain, 10**4)
    matched = int(group.match.any(1).nonzero()[0])
    junk = int(group.junk.any(1).nonzero()[0])
    unmatched = int((~group.match.any(1)).nonzero()[0])
    places = {matched: group.index[matched][group.match[matched]][0], junk: group.index[junk][group.junk[junk]][0]}
    places |= {unmatched: torch.tensor(7), 69: torch.tensor(399)}
    for q, place in places.items():
        scores[q, place] = bad
    for ranks in (match_ranks(scores, group), _sorted_ranks(scores, group)):
        assert (ranks == 0).all(1).nonzero().flatten().tolist() == sorted(places)
        assert (ranks > 0).any(1).sum() == 70 - len(places)
