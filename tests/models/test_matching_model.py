"""Models that keep a matcher: what they put out, in how many views, and that they come back as they were saved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from passerby.data.images import Preprocessing
from passerby.errors import PasserbyError
from passerby.matching.experts import TwoStreamQAConv
from passerby.matching.settings import MatcherSettings
from passerby.models.backbone import Backbone
from passerby.models.matching_model import MatchingModel, Stream, build_model
from passerby.models.model import Architecture
from passerby.models.norm_kinds import BankSettings
from passerby.models.route import Route

SMALL = Preprocessing(height=64, width=32)


def built(
    specific: str = "none", invariant: str = "none", stages: tuple[str, ...] = ("layer3", "layer4")
) -> MatchingModel:
    torch.manual_seed(0)
    streams = specific != "none" or invariant != "none"
    settings = MatcherSettings.model_validate(
        {"kind": "qaconv", "channels": 6, "specific": specific, "invariant": invariant}
    )
    bank = BankSettings(domains=3 if streams else 0, affine="own", attention=4 if invariant == "mix" else 0)
    model = build_model(
        Architecture(
            backbone="test_resnet", stages=stages, norm="domain" if streams else "batch", bank=bank, matcher=settings
        ),
        SMALL,
    )
    assert isinstance(model, MatchingModel)
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.add_(0.3 * torch.rand_like(buffer))
    return model.eval()


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = []
    for index in range(5):
        pixels = np.random.default_rng(index).integers(0, 255, (64, 32, 3)).astype(np.uint8)
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.mark.parametrize(("stream", "views"), [("experts", slice(0, 3)), ("mix", slice(3, 4))])
def test_a_stream_that_is_kept_scores_as_it_did_in_the_sum(stream: Stream, views: slice, images: list[Path]) -> None:
    model, alone = built("attention", "mix"), built("attention", "mix")
    alone.keep_stream(stream)
    assert alone.unknown == stream
    (embeddings, rows), (own_embeddings, own_rows) = model.describe(images), alone.describe(images)
    width = rows.shape[1] // 4
    torch.testing.assert_close(own_rows, rows[:, width * views.start : width * views.stop])
    parts = embeddings.view(5, 4, -1)[:, views].flatten(1)
    torch.testing.assert_close(own_embeddings, normalize(parts))
    assert isinstance(model.matcher, TwoStreamQAConv)
    part = model.matcher.specific if stream == "experts" else model.matcher.invariant
    torch.testing.assert_close(alone.matcher.score(own_rows, own_rows), part.score(own_rows, own_rows))
    with pytest.raises(PasserbyError, match="has not two"):
        alone.keep_stream(stream)


@pytest.mark.parametrize(
    ("specific", "invariant", "views"),
    [("none", "none", 1), ("attention", "none", 3), ("none", "mix", 1), ("vote", "mix", 4), ("average", "batch", 4)],
)
def test_the_embedding_is_of_the_matchers_own_maps(
    specific: str, invariant: str, views: int, images: list[Path]
) -> None:
    model = built(specific, invariant)
    embeddings, rows = model.describe(images)
    assert rows.dtype == torch.float16
    assert embeddings.shape == (5, model.dimension) == (5, views * 2 * 8 * 6)
    torch.testing.assert_close(model.embed([str(path) for path in images]), embeddings)
    descriptors = model.matcher.layout.descriptors(rows)
    assert len(descriptors) == views
    for view in descriptors:
        for places in view:
            torch.testing.assert_close(places.norm(dim=2), torch.ones(places.shape[:2]), atol=2e-3, rtol=0)
    parts = []
    for view in descriptors:
        for places, (height, width) in zip(view, model.matcher.layout.sizes, strict=True):
            rows_of_places = places.view(5, height, width, 6).mean(2)
            bounds = [(height * k // 8, -(-height * (k + 1) // 8)) for k in range(8)]
            stripes = torch.stack([rows_of_places[:, start:stop].mean(1) for start, stop in bounds], 2)
            parts.append(normalize(stripes, dim=1).flatten(1))
    pooled = torch.cat(parts, 1)
    torch.testing.assert_close(normalize(pooled), embeddings, atol=2e-3, rtol=0)
    score = model.matcher.score(rows, rows)
    torch.testing.assert_close(score, score.T, atol=1e-3, rtol=1e-3)


def test_views_are_the_routes_one_by_one() -> None:
    model = built("attention", "mix")
    batch = torch.randn(4, 3, 64, 32)
    with torch.no_grad():
        seen = model.look(batch)
        routes = [*(Route(torch.full((4,), k)) for k in range(3)), Route(None, "mix")]
        for view, route in enumerate(routes):
            for maps, alone in zip(seen, model(batch, route).maps.values(), strict=True):
                torch.testing.assert_close(maps[view], alone)


def test_layers_behind_the_last_stage_are_gone() -> None:
    model = built(stages=("layer3",))
    assert not any("layer4" in name for name, _ in model.named_parameters())
    assert model.backbone.channels == model.projections[0].convolution.in_channels  # type: ignore[union-attr]
    whole = Backbone("test_resnet", (64, 32), stages=("layer3",))
    batch = torch.randn(2, 3, 64, 32)
    whole.eval()
    before = whole(batch)[1]["layer3"]
    whole.end_with_stages()
    last, maps = whole(batch)
    torch.testing.assert_close(maps["layer3"], before)
    torch.testing.assert_close(last, before)
    transformer = Backbone("test_vit", (64, 64), last_stride_1=False)
    with pytest.raises(PasserbyError, match="layer5"):
        Backbone("test_resnet", (64, 32), stages=("layer5",))
    assert transformer.stages_in_order == []


def test_maps_of_another_size_are_refused() -> None:
    model = built()
    maps = [m[None] for m in model(torch.randn(2, 3, 32, 32)).maps.values()]
    with pytest.raises(PasserbyError, match="give images of the size that the model was built for"):
        model.matcher.pairwise(maps)


@pytest.mark.parametrize("more", [{"stripes": 2}, {"embedding": 8}, {"head": "mgn"}])
def test_neither_part_heads_nor_another_embedding(more: dict[str, Any]) -> None:
    matcher = {"kind": "qaconv", "channels": 8}
    stages = [] if more == {"head": "mgn"} else ["layer3", "layer4"]
    architecture = {"backbone": "test_resnet", "stages": stages, "matcher": matcher, **more}
    with pytest.raises(PasserbyError, match=r"model\.(stripes|stages)"):
        build_model(Architecture.model_validate(architecture), Preprocessing(height=32, width=16))
