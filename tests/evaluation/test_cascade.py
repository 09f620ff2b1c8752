"""The cascade: exact where everything is matched, else the matcher's order first and the embedding's behind it."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from passerby.errors import PasserbyError
from passerby.evaluation.cascade import Cascade
from passerby.matching.cosine import Cosine
from passerby.matching.maps import MapLayout
from passerby.matching.qaconv import MSQAConv
from passerby.matching.store import half_rows

QUERIES, GALLERY = 5, 30


@pytest.fixture
def sides() -> tuple[MSQAConv, tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    matcher = MSQAConv(MapLayout(6, ((3, 2),))).eval()
    rows = normalize(torch.randn(40, 6, 6, generator=generator), dim=2).flatten(1)
    query, gallery = torch.randperm(40, generator=generator).split([QUERIES + 5, GALLERY])
    query = query[:QUERIES]
    embedding = normalize(rows.view(40, 6, 6).mean(1) + 0.1)
    return matcher, (embedding[query], embedding[gallery]), (rows, query, gallery)


@pytest.fixture(params=["at once", "in blocks"], autouse=True)
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both as small sides go, whole, and as large ones do."""
    if request.param == "in blocks":
        monkeypatch.setattr("passerby.evaluation.cascade.QUERIES", 2)
        monkeypatch.setattr("passerby.evaluation.cascade.GALLERY", 7)
        monkeypatch.setattr("passerby.evaluation.cascade.Cosine", partial(Cosine, 3 * GALLERY))


@pytest.mark.parametrize("k", [GALLERY, GALLERY + 9, None])
def test_of_all_it_is_exact(k: int | None, sides: tuple[MSQAConv, tuple[Tensor, Tensor], tuple[Tensor, ...]]) -> None:
    matcher, embeddings, maps = sides
    rows, query, gallery = maps
    cascade = Cascade(matcher, embeddings, (rows, query, gallery), k)
    expected = matcher.score(rows[query], rows[gallery])
    torch.testing.assert_close(torch.cat(list(cascade.scores().blocks())), expected)
    assert cascade.scores().low <= expected.min()
    assert cascade.scores().high >= expected.max()


@pytest.mark.parametrize("k", [1, 7, GALLERY - 1])
def test_the_first_k_are_the_matchers_the_rest_the_embeddings(
    k: int, sides: tuple[MSQAConv, tuple[Tensor, Tensor], tuple[Tensor, ...]]
) -> None:
    matcher, embeddings, (rows, query, gallery) = sides
    exact = matcher.score(rows[query], rows[gallery])
    by_embedding = (embeddings[0] @ embeddings[1].T).argsort(1, descending=True)
    scores = Cascade(matcher, embeddings, (rows, query, gallery), k).scores()
    found = torch.cat([block.clone() for block in scores.blocks()])
    assert torch.equal(found, torch.cat([block.clone() for block in scores.blocks()])), "asked again, the same"
    for row in range(QUERIES):
        first, rest = by_embedding[row, :k], by_embedding[row, k:]
        torch.testing.assert_close(found[row, first], exact[row, first])
        order = found[row].argsort(descending=True)
        assert sorted(order[:k].tolist()) == sorted(first.tolist())
        assert order[k:].tolist() == rest.tolist()
    assert scores.low <= found.min()
    assert found.max() <= scores.high


def test_nothing_to_match_is_refused(sides: tuple[MSQAConv, tuple[Tensor, Tensor], tuple[Tensor, ...]]) -> None:
    matcher, embeddings, (rows, query, gallery) = sides
    with pytest.raises(PasserbyError, match="--top-k 0"):
        Cascade(matcher, embeddings, (rows, query, gallery), 0)


def test_maps_that_outgrow_memory_go_to_a_file(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    kept = half_rows(3, 4, tmp_path / "cache", in_memory=24)
    assert not (tmp_path / "cache").exists()
    mapped = half_rows(3, 4, tmp_path / "cache", in_memory=23)
    for rows in (kept, mapped):
        rows[:] = torch.arange(12.0).view(3, 4)
        assert rows.dtype == torch.float16
        assert torch.equal(rows.index_select(0, torch.tensor([2])).float(), torch.tensor([[8.0, 9, 10, 11]]))
    assert list((tmp_path / "cache").iterdir()) == [], "the file is gone with the tensor"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(PasserbyError, match="cannot take the maps of 3 images"):
        half_rows(3, 4, tmp_path, in_memory=0)
