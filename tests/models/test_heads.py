"""Part heads: stripes, positions and local features by their plain formulas, and the counts of the paper."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from passerby.data.images import Preprocessing
from passerby.models.heads import PartHeads
from passerby.models.model import Architecture, Model
from passerby.models.norm import InstanceNorm2d
from passerby.models.saved import ModelCard, current_versions, load_model, save_model

SMALL = Preprocessing(height=32, width=16)


def heads(channels: int = 5, stripes: int = 6, dimension: int = 4) -> PartHeads:
    """Heads with statistics and affines of their own."""
    torch.manual_seed(0)
    made = PartHeads(channels, stripes, dimension)
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return made.eval()


def maps(height: int = 8, channels: int = 5, images: int = 3) -> Tensor:
    return torch.randn(images, channels, height, 3, generator=torch.Generator().manual_seed(1))


def stripes_by_hand(maps: Tensor, count: int) -> Tensor:
    """[N, S, C]: stripe k is the mean of the rows from floor(k h / S) to before ceil((k + 1) h / S)."""
    height = maps.shape[2]
    rows = [(k * height // count, -(-(k + 1) * height // count)) for k in range(count)]
    return torch.stack([maps[:, :, start:end].mean((2, 3)) for start, end in rows], 1)


@torch.no_grad()
@pytest.mark.parametrize(("height", "stripes"), [(12, 6), (6, 6), (8, 6), (16, 6), (2, 3), (7, 1)])
def test_positions_and_local_features_are_the_plain_formulas(height: int, stripes: int) -> None:
    made, given = heads(stripes=stripes), maps(height)
    parts = made(given)
    pooled = stripes_by_hand(given, stripes)
    assert parts.position.shape == (3, stripes, stripes)
    assert parts.embedding.shape == (3, stripes, 4)
    for k in range(stripes):
        # One layer for all stripes tells the position; each stripe has a convolution and a norm of its own.
        torch.testing.assert_close(parts.position[:, k], pooled[:, k] @ made.position.weight.T + made.position.bias)
        convolution, norm = made.local[k]
        local = pooled[:, k] @ convolution.weight[:, :, 0, 0].T
        expected = (local - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        torch.testing.assert_close(parts.embedding[:, k], expected, rtol=1e-4, atol=1e-5)


def pooled_by(made: PartHeads, maps: Tensor) -> Tensor:
    """[N, C, S]: the stripes as the positions' layer sees them."""
    seen: list[Tensor] = []
    handle = made.position.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    made(maps)
    handle.remove()
    return seen[0].transpose(1, 2)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 12), stripes=st.integers(1, 12), seed=st.integers(0, 99))
@example(height=16, width=8, stripes=6, seed=0)  # 256 x 128 with a last stride of 1, the paper's
@example(height=8, width=4, stripes=6, seed=0)
@example(height=2, width=1, stripes=7, seed=0)  # fewer rows than stripes
def test_stripes_are_those_of_adaptive_pooling(height: int, width: int, stripes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    given = torch.randn(2, 3, height, width, generator=generator, requires_grad=True)
    made = PartHeads(3, stripes, 2).eval()
    found, expected = pooled_by(made, given), nn.functional.adaptive_avg_pool2d(given, (stripes, 1)).squeeze(3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    weights = torch.randn(2, 3, stripes, generator=generator)
    gradients = [torch.autograd.grad((value * weights).sum(), given)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_stripes_are_pooled_by_what_a_gpu_does_the_same_way_twice() -> None:
    names: set[str] = set()

    class Watched(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.add(str(func))
            return func(*args, **(kwargs or {}))

    given = maps(8).requires_grad_()
    for layout in (torch.contiguous_format, torch.channels_last):
        with Watched():
            parts = heads()(given.contiguous(memory_format=layout))
            (parts.embedding.sum() + parts.position.sum()).backward()
    assert any("mm" in name for name in names)
    # These have a backward that adds up in any order: torch refuses it where it must be deterministic.
    assert not [name for name in names if any(word in name for word in ("adaptive", "scatter", "index_add"))]
    assert given.grad is not None


@torch.no_grad()
@pytest.mark.parametrize(("height", "touched"), [(12, [1]), (8, [1, 2])])
def test_even_stripes_share_no_row_and_uneven_ones_overlap(height: int, touched: list[int]) -> None:
    # Of 12 rows row 2 is in the second stripe alone; of 8 it ends the second (1 to 2) and begins the third (2 to 3).
    made, given = heads(), maps(height)
    before = made(given)
    given[:, :, 2] += 1
    for found, old in ((made(given).position, before.position), (made(given).embedding, before.embedding)):
        assert (found != old).any(2).any(0).nonzero().flatten().tolist() == touched


@torch.no_grad()
def test_in_training_local_features_are_normalised_by_the_batch() -> None:
    made, given = heads().train(), maps(images=5)
    local = made(given).embedding
    for k, (_, norm) in enumerate(made.local):
        torch.testing.assert_close(local[:, k].mean(0), norm.bias, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(local[:, k].var(0, correction=0), norm.weight**2, rtol=1e-2, atol=1e-3)


@torch.no_grad()
def test_float32_under_autocast() -> None:
    made, given = heads(), maps()
    for dtype in (torch.float32, torch.bfloat16):
        expected = made(given.to(dtype).float())
        with torch.autocast("cpu", torch.bfloat16):
            found = made(given.to(dtype))
        assert found.embedding.dtype == found.position.dtype == torch.float32
        assert torch.equal(found.embedding, expected.embedding)
        assert torch.equal(found.position, expected.position)


def test_the_papers_counts_on_resnet50_with_dualnorm() -> None:
    model = Model(
        Architecture(backbone="resnet50", norm="dualnorm", stripes=6), Preprocessing(height=64, width=32)
    ).eval()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    assert len(norms) == 60
    assert sum(p.numel() for norm in norms for p in norm.parameters()) == 60_288
    instance = [m for m in model.modules() if isinstance(m, InstanceNorm2d)]
    assert sum(p.numel() for norm in instance for p in norm.parameters()) == 3_584
    assert model.parts is not None
    assert (model.dimension, model.parts.dimension, model.parts.stripes) == (2048, 256, 6)


@torch.no_grad()
def test_parts_come_from_the_last_map_and_only_when_asked_for(model: Model) -> None:
    images = torch.randn(4, 3, 32, 16, generator=torch.Generator().manual_seed(2))
    assert model.parts is None
    assert model(images, parts=True).parts is None
    torch.manual_seed(0)
    with_heads = Model(Architecture(backbone="test_resnet", stripes=3), SMALL).eval()
    assert with_heads.parts is not None
    assert with_heads(images).parts is None
    features = with_heads(images, parts=True)
    again = with_heads.parts(features.maps["last"])
    assert torch.equal(features.parts.embedding, again.embedding)
    assert torch.equal(features.parts.position, again.position)
    assert torch.equal(features.embedding, with_heads(images).embedding)


def test_save_and_load_keep_the_heads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Model(Architecture(backbone="test_resnet", stripes=3), SMALL).eval()
    card = ModelCard(
        architecture=model.architecture,
        preprocessing=SMALL,
        dimension=model.dimension,
        recipe={},
        recipe_name="tiny",
        budget="quick",
        seed=0,
        steps=1,
        seconds=1,
        peak_mib=1,
        trained_on=(),
        versions=current_versions(),
    )
    save_model(tmp_path / "model", model, card)
    loaded, loaded_card = load_model(tmp_path / "model")
    assert loaded.architecture.stripes == 3
    assert loaded.weights_sha256 == loaded_card.weights_sha256 != ""
    images = torch.randn(2, 3, 32, 16)
    with torch.no_grad():
        found, expected = loaded(images, parts=True).parts, model(images, parts=True).parts
    assert torch.equal(found.embedding, expected.embedding)
    assert torch.equal(found.position, expected.position)


def test_fewer_than_no_stripes() -> None:
    with pytest.raises(ValidationError, match="stripes"):
        Architecture(backbone="test_resnet", stripes=-1)
