"""k-reciprocal re-ranking against its dense definition, set by set."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.functional import normalize

from passerby.errors import PasserbyError
from passerby.evaluation.reranking import rerank
from passerby.matching.cosine import Cosine


def dense(query: torch.Tensor, gallery: torch.Tensor, k1: int, k2: int, lambda_value: float) -> NDArray[np.float64]:
    """The paper's section 3, equation by equation, on full matrices in double precision; distances [Q, G]."""
    features = torch.cat([query, gallery]).double().numpy()
    distance = ((features[:, None] - features[None]) ** 2).sum(2)
    distance /= distance.max(1, keepdims=True)
    count = len(features)
    order = np.argsort(distance, axis=1)

    def reciprocal(i: int, k: int) -> set[int]:  # equations 1 and 2; the image itself is its nearest
        return {int(j) for j in order[i, : k + 1] if i in order[j, : k + 1]}

    encoding = np.zeros((count, count))
    for i in range(count):
        members = reciprocal(i, k1)
        expanded = set(members)  # equation 4
        for j in members:
            candidates = reciprocal(j, round(k1 / 2))
            if len(candidates & members) > 2 / 3 * len(candidates):
                expanded |= candidates
        chosen = sorted(expanded)
        weights = np.exp(-distance[i, chosen])  # equation 7, normalised to sum 1 as in the authors' experiments
        encoding[i, chosen] = weights / weights.sum()
    encoding = np.stack([encoding[order[i, :k2]].mean(0) for i in range(count)])  # equation 11
    asked, found = encoding[: len(query), None], encoding[None, len(query) :]
    jaccard = 1 - np.minimum(asked, found).sum(2) / np.maximum(asked, found).sum(2)  # equation 10
    return (1 - lambda_value) * jaccard + lambda_value * distance[: len(query), len(query) :]  # equation 12


def clusters(seed: int, queries: int, gallery: int, people: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features with people in them, so that sets expand; fresh noise, so that no two distances are the same."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(people, (queries + gallery,), generator=generator)
    noise = torch.randn(queries + gallery, width, generator=generator)
    features = normalize(1.5 * torch.randn(people, width, generator=generator)[ids] + noise)
    return features[:queries], features[queries:]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    queries=st.integers(1, 12),
    gallery=st.integers(2, 60),
    people=st.integers(1, 9),
    k1=st.integers(1, 25),
    k2=st.integers(1, 8),
    lambda_value=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_equal_to_the_dense_definition(
    seed: int, queries: int, gallery: int, people: int, k1: int, k2: int, lambda_value: float
) -> None:
    query, found = clusters(seed, queries, gallery, people, width=16)
    expected = dense(query, found, k1, k2, lambda_value)
    np.testing.assert_allclose(-rerank(query, found, k1, k2, lambda_value), expected, atol=1e-5)


def test_equal_to_the_dense_definition_at_the_default_setting() -> None:
    query, gallery = clusters(0, 30, 270, people=15, width=32)
    expected = dense(query, gallery, 20, 6, 0.3)
    scores = rerank(query, gallery)
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(-scores, expected, atol=1e-5)
    assert (expected < 0.9).mean() > 0.02, "sets overlap, or nothing was tested"


@pytest.mark.parametrize("at_once", [1, 500, 3000])
def test_equal_however_it_is_cut(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = clusters(1, 20, 150, people=10, width=32)
    whole = rerank(query, gallery)
    monkeypatch.setattr("passerby.evaluation.reranking.AT_ONCE", at_once)
    monkeypatch.setattr("passerby.evaluation.reranking.Cosine", lambda: Cosine(7 * 170))
    np.testing.assert_allclose(rerank(query, gallery), whole, atol=1e-6)


def test_copies_of_one_image_are_at_no_distance_and_before_all_others() -> None:
    query, gallery = clusters(2, 1, 80, people=80, width=16)
    scores = rerank(query, torch.cat([gallery, query.expand(40, -1)]))
    assert torch.isfinite(scores).all()
    assert scores[0, 80:].min() > scores[0, :80].max()
    assert torch.isfinite(rerank(query, query.expand(5, -1))).all()


def test_bad_input() -> None:
    query, gallery = clusters(3, 4, 9, people=3, width=8)
    for k1, k2, lambda_value in ((0, 6, 0.3), (20, 0, 0.3), (20, 6, 1.1)):
        with pytest.raises(PasserbyError, match="re-ranking: k1="):
            rerank(query, gallery, k1, k2, lambda_value)
    with pytest.raises(PasserbyError, match="gallery: features hold NaN"):
        rerank(query, gallery * torch.nan)
    with pytest.raises(PasserbyError, match="do not go together"):
        rerank(query, gallery[:, :5])
