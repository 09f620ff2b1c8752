"""Ranking metrics against a plain loop over queries, ties, missing cameras and distractors included."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from passerby.errors import PasserbyError
from passerby.evaluation.ranking import Ranker, rank, rank_scores
from passerby.evaluation.ranking_labels import Labels
from passerby.evaluation.ranking_pairs import PairCounter, pair_histogram
from passerby.evaluation.ranking_topk import largest, top_k, top_k_scores
from passerby.evaluation.single_shot import single_shot_cmc
from passerby.matching.cosine import Cosine


class Case:
    """A random small task: few people, few cameras, distractors, unknown cameras, many ties."""

    def __init__(self, seed: int, queries: int, gallery: int, levels: int, query_cameras: bool, gallery_cameras: bool):
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.scores = torch.from_numpy(
            rng.integers(-levels, levels + 1, (queries, gallery)).astype(np.float32) / levels
        )
        self.query_ids = torch.from_numpy(rng.integers(-1, 4, queries))
        self.gallery_ids = torch.from_numpy(rng.integers(-1, 4, gallery))
        self.query_cameras = torch.from_numpy(rng.integers(-1, 3, queries)) if query_cameras else None
        self.gallery_cameras = torch.from_numpy(rng.integers(-1, 3, gallery)) if gallery_cameras else None
        self.labels = Labels(self.query_ids, self.gallery_ids, self.query_cameras, self.gallery_cameras)

    def kind(self, q: int, g: int) -> str:
        """What the gallery image g is to the query q, by the words of the rule."""
        if self.query_ids[q] == -1 or self.query_ids[q] != self.gallery_ids[g]:
            return "other"
        if self.query_cameras is None or self.gallery_cameras is None or self.query_cameras[q] == -1:
            return "match"
        return "junk" if self.query_cameras[q] == self.gallery_cameras[g] else "match"

    def blocks(self) -> list[Tensor]:
        """The scores, cut somewhere."""
        return list(self.scores.split(int(self.rng.integers(1, len(self.scores) + 1))))


CASES = st.builds(
    Case,
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 8),
    gallery=st.integers(1, 30),
    levels=st.sampled_from([1, 3, 1000]),
    query_cameras=st.booleans(),
    gallery_cameras=st.booleans(),
)


def plain_metrics(case: Case, q: int) -> tuple[int, float, float] | None:
    """Rank of the first match, AP and INP of one query by walking down its sorted list."""
    kinds = [case.kind(q, g) for g in range(len(case.gallery_ids))]
    # On equal scores what does not match comes first.
    walk = sorted((-float(case.scores[q, g]), kind == "match") for g, kind in enumerate(kinds) if kind != "junk")
    hits = [place for place, (_, match) in enumerate(walk, start=1) if match]
    if not hits:
        return None
    precisions = [found / place for found, place in enumerate(hits, start=1)]
    return hits[0], sum(precisions) / len(hits), len(hits) / hits[-1]


@settings(max_examples=600, deadline=None)
@given(CASES)
def test_metrics_equal_a_plain_loop(case: Case) -> None:
    expected = [plain_metrics(case, q) for q in range(len(case.query_ids))]
    if not any(expected):
        with pytest.raises(PasserbyError, match="has a match"):
            rank_scores(case.blocks(), case.labels)
        return
    result = rank_scores(case.blocks(), case.labels)
    assert result.matched.tolist() == [e is not None for e in expected]
    assert result.unmatched == expected.count(None)
    assert result.first_rank.tolist() == [e[0] if e else 0 for e in expected]
    found = [e for e in expected if e]
    np.testing.assert_allclose(result.average_precision[result.matched], [e[1] for e in found], rtol=1e-12)
    np.testing.assert_allclose(result.inverse_penalty[result.matched], [e[2] for e in found], rtol=1e-12)
    assert result.average_precision[~result.matched].isnan().all()
    assert result.mean_ap == pytest.approx(np.mean([e[1] for e in found]))
    assert result.mean_inp == pytest.approx(np.mean([e[2] for e in found]))
    curve = [np.mean([e[0] <= k for e in found]) for k in range(1, 11)]
    np.testing.assert_allclose(result.cmc(10), curve, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_pairs_top_k_and_order_of_the_gallery(case: Case) -> None:
    queries, gallery = case.scores.shape
    kinds = np.array([[case.kind(q, g) for g in range(gallery)] for q in range(queries)])
    scores = case.scores.numpy()

    indices, values = top_k_scores(case.blocks(), case.labels, k=5)
    for q in range(queries):
        allowed = sorted(scores[q][kinds[q] != "junk"], reverse=True)[:5]
        shown = indices[q][indices[q] >= 0].numpy()
        assert values[q][: len(shown)].tolist() == allowed
        assert scores[q][shown].tolist() == allowed
        assert len(set(shown.tolist())) == len(shown)
        assert all(kinds[q, g] != "junk" for g in shown)
        assert values[q][len(shown) :].eq(-torch.inf).all()

    same, different = scores[kinds == "match"], scores[kinds == "other"]
    if len(same) and len(different):
        histogram = pair_histogram(case.blocks(), case.labels)
        for counts, members in ((histogram.same, same), (histogram.different, different)):
            bins = np.clip(np.floor((members.astype(np.float64) + 1) * 32768 + 1e-3), 0, 65535).astype(int)
            assert torch.equal(counts, torch.bincount(torch.from_numpy(bins), minlength=65536))

    order = torch.from_numpy(case.rng.permutation(gallery))
    cameras = None if case.gallery_cameras is None else case.gallery_cameras[order]
    shuffled = Labels(case.query_ids, case.gallery_ids[order], case.query_cameras, cameras)
    if (kinds == "match").any():
        first, second = rank_scores([case.scores], case.labels), rank_scores([case.scores[:, order]], shuffled)
        assert torch.equal(first.average_precision.nan_to_num(), second.average_precision.nan_to_num())


def task(queries: int, gallery: int, people: int, width: int = 16) -> tuple[Tensor, ...]:
    """Features, ids and cameras of a task with clusters."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(people, width, generator=generator)
    parts = []
    for count in (queries, gallery):
        ids = torch.randint(people, (count,), generator=generator)
        noise = torch.randn(count, width, generator=generator)
        parts.append((normalize(centres[ids] + noise), ids, torch.randint(3, (count,), generator=generator)))
    (query, query_ids, query_cameras), (found, ids, cameras) = parts
    return query, found, query_ids, ids, query_cameras, cameras


def test_rank_takes_the_cosine() -> None:
    query, gallery, *labels = task(40, 500, 20)
    result = rank(query, gallery, *labels)
    expected = rank_scores([query @ gallery.T], Labels(*labels))
    assert result.mean_ap == pytest.approx(expected.mean_ap)
    assert 0.1 < result.mean_ap < 0.9
    blocks = [block.clone() for block in Cosine(3 * 500).blocks(query, gallery)]
    np.testing.assert_allclose(torch.cat(blocks), query @ gallery.T, atol=1e-6)
    assert [len(b) for b in blocks] == [3] * 13 + [1]


def test_top_k_of_features() -> None:
    query, gallery, query_ids, ids, query_cameras, cameras = task(40, 500, 20)
    indices, values = top_k(query, gallery, 10, query_ids, ids, query_cameras, cameras)
    scores = query @ gallery.T
    scores[(query_ids[:, None] == ids) & (query_cameras[:, None] == cameras)] = -torch.inf
    expected = scores.sort(1, descending=True)
    assert torch.equal(indices, expected.indices[:, :10])
    np.testing.assert_allclose(values, expected.values[:, :10], atol=1e-6)
    assert top_k(query, gallery[:4], 10, query_ids, ids[:4])[0].shape == (40, 4)


@pytest.mark.parametrize(("columns", "k"), [(1, 1), (16, 3), (1000, 21), (1003, 62), (1003, 63), (50, 50)])
def test_largest_is_topk(columns: int, k: int) -> None:
    scores = torch.randn(9, columns, generator=torch.Generator().manual_seed(0))
    values, indices = largest(scores, k)
    expected = scores.topk(k)
    assert torch.equal(values, expected.values)
    assert torch.equal(indices, expected.indices)


def test_a_model_that_gives_everything_the_same_score_is_no_good() -> None:
    result = rank_scores([torch.zeros(1, 10)], Labels(torch.tensor([1]), torch.tensor([1] + [0] * 9)))
    assert result.first_rank.tolist() == [10]
    assert result.cmc(10).tolist() == [0] * 9 + [1]
    assert result.cmc(3).tolist() == [0, 0, 0]


def test_scores_stay_as_they_were() -> None:
    case = Case(3, 6, 20, 1000, True, True)
    before = case.scores.clone()
    Ranker(case.labels).add(case.scores)
    PairCounter(case.labels).add(case.scores)
    top_k_scores([case.scores], case.labels, 3)
    assert torch.equal(case.scores, before)


def test_tpr_at_fpr() -> None:
    query, gallery, *labels = task(200, 600, 20)
    query_ids, ids, query_cameras, cameras = labels
    histogram = pair_histogram(Cosine(10_000).blocks(query, gallery), Labels(*labels))
    scores, same_id = query @ gallery.T, query_ids[:, None] == ids
    same = scores[same_id & (query_cameras[:, None] != cameras)].numpy()
    different = np.sort(scores[~same_id].numpy())[::-1]
    assert int(histogram.same.sum()) == len(same)
    for fpr in (1e-4, 1e-3, 1e-2, 1e-1):
        # The exact threshold lies just above the first different pair that would be one too many.
        exact = float(np.mean(same > different[int(fpr * len(different))]))
        assert exact - 2e-3 <= histogram.tpr(fpr) <= exact + 1e-9
    edges, drawn_same, drawn_different = histogram.coarse(64)
    for drawn, members in ((drawn_same, same), (drawn_different, different)):
        expected = np.histogram(members, bins=edges.numpy())[0]
        assert np.abs(drawn.numpy() - expected).sum() <= 2


def test_scores_outside_the_range_fall_into_the_last_bins() -> None:
    labels = Labels(torch.tensor([1]), torch.tensor([1, 2, 3]))
    histogram = pair_histogram([torch.tensor([[90.0, -70.0, 5.0]])], labels, low=0, high=10)
    assert histogram.same.nonzero().flatten().tolist() == [65535]
    assert histogram.different.nonzero().flatten().tolist() == [0, 32768]


def test_single_shot_with_one_image_each_is_the_plain_cmc() -> None:
    query, gallery, query_ids, *_ = task(30, 20, 20)
    labels = Labels(query_ids, torch.arange(20))
    scores = query @ gallery.T
    plain = rank_scores([scores], labels).cmc(20)
    np.testing.assert_allclose(single_shot_cmc([scores], labels, max_rank=20, trials=3), plain, rtol=1e-12)


def test_single_shot_draws_each_image_as_often() -> None:
    # Person 1 shows at 0.9, 0.5 and, as junk, at 1.0; person 2 at 0.7 and 0.3; a distractor at 0.6 is always there.
    labels = Labels(
        torch.tensor([1, 8]), torch.tensor([1, 2, 1, 2, 1, -1]), torch.tensor([0, 0]), torch.tensor([1, 1, 0, 2, 2, 1])
    )
    scores = torch.tensor([[0.9, 0.7, 1.0, 0.3, 0.5, 0.6]]).expand(2, -1)
    curve = single_shot_cmc([scores], labels, max_rank=4, trials=40_000)
    # Rank 1 with 0.9; with 0.5 rank 2 or 3, as person 2 shows 0.3 or 0.7.
    np.testing.assert_allclose(curve, [0.5, 0.75, 1, 1], atol=0.01)


def test_single_shot_depends_on_the_seed_alone() -> None:
    query, gallery, *labels = task(30, 200, 20)
    scores, truth = query @ gallery.T, Labels(*labels)
    whole = single_shot_cmc([scores], truth, trials=7)
    assert torch.equal(whole, single_shot_cmc(scores.split(4), truth, trials=7))
    assert not torch.equal(whole, single_shot_cmc([scores], truth, trials=7, seed=1))


IDS = torch.tensor([1, 2])


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (torch.eye(2), torch.eye(3)[:2], "do not go together"),
        (torch.eye(2), torch.tensor([[1.0, torch.nan], [0, 1]]), "gallery: features hold NaN"),
        (torch.tensor([[torch.inf, 0], [0, 1]]), torch.eye(2), "query: features hold NaN or infinity"),
    ],
)
def test_bad_features(query: Tensor, gallery: Tensor, message: str) -> None:
    with pytest.raises(PasserbyError, match=message):
        rank(query, gallery, IDS, IDS)


def test_bad_labels() -> None:
    with pytest.raises(PasserbyError, match="gallery: no images"):
        Labels(IDS, IDS[:0])
    with pytest.raises(PasserbyError, match="query: 2 identities but 1 cameras"):
        Labels(IDS, IDS, IDS[:1], IDS)
    with pytest.raises(PasserbyError, match="none of the 2 queries has a match"):
        rank(torch.eye(2), torch.eye(2), IDS, IDS, IDS, IDS)


def test_bad_scores() -> None:
    labels = Labels(IDS, IDS)
    with pytest.raises(PasserbyError, match=r"shape \(3, 2\).*2 queries and 2 gallery"):
        rank_scores([torch.eye(3)[:, :2]], labels)
    with pytest.raises(PasserbyError, match="blocks of 1 queries, but there are 2"):
        rank_scores([torch.eye(2)[:1]], labels)
    for bad in (torch.nan, torch.inf):
        for place in (0, 1):
            scores = torch.eye(2)
            scores[0, place] = bad
            with pytest.raises(PasserbyError, match="NaN or infinity"):
                rank_scores([scores], labels)
    with pytest.raises(PasserbyError, match="NaN"):
        pair_histogram([torch.full((2, 2), torch.nan)], labels)
    with pytest.raises(PasserbyError, match="none of the same person"):
        pair_histogram([torch.eye(2)], Labels(IDS, IDS + 5))
    with pytest.raises(PasserbyError, match="none of different people"):
        pair_histogram([torch.eye(2)], Labels(IDS.clamp(max=1), IDS.clamp(max=1)))
    with pytest.raises(PasserbyError, match="no query has a match"):
        single_shot_cmc([torch.eye(2)], Labels(IDS, IDS + 5))
