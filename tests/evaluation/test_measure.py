"""Measuring: every split of a target ranked, with a bar and without."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from passerby.evaluation.measure import measure
from passerby.evaluation.targets import Split, Target


@pytest.mark.parametrize("reranked", [False, True])
@pytest.mark.parametrize("splits", [1, 3])
def test_a_bar_changes_nothing(splits: int, reranked: bool, market: Any) -> None:
    samples = market(identities=8)
    rows = {sample: row for row, sample in enumerate(samples)}
    features = normalize(torch.randn(len(samples), 16, generator=torch.Generator().manual_seed(0)))

    def of_split(split: Split) -> tuple[Tensor, Tensor]:
        query, gallery = (features[[rows[s] for s in side]] for side in (split.query, split.gallery))
        return query, gallery

    query, gallery = (tuple(s for s in samples if s.camera == camera) for camera in (1, 2))
    every = tuple(Split(query[k : k + 9], gallery, ()) for k in range(splits))
    target = Target("people", every, "people-3", "cam 1 -> cam 2")
    quiet, shown = (measure(target, of_split, reranked=reranked, progress=progress) for progress in (False, True))
    assert [outcome.split for outcome in shown.outcomes] == list(every)
    assert shown.metrics() == quiet.metrics()
    assert len(set(shown.metrics()["mAP"].per_split)) == splits
    assert (shown.target, shown.reranked) == (target, reranked)
    for outcome, same in zip(shown.outcomes, quiet.outcomes, strict=True):
        assert torch.equal(outcome.ranking.first_rank, same.ranking.first_rank)
        assert torch.equal(outcome.cmc, same.cmc)
