"""The model: backbone, pooling, BNNeck, route."""

import threading

import pytest
import torch
from torch import Tensor

from passerby.data.images import Preprocessing
from passerby.models.model import Architecture, Model
from passerby.models.route import Route, RoutedModule

SMALL = Preprocessing(height=32, width=16)


class Spy(RoutedModule):
    """Notes the route of each forward; raises where the images are not numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Route | None] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(self.route)
        if images.isnan().any():
            raise ValueError("broken")
        return images


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 16, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_features_are_the_pooled_map_and_its_batch_norm(model: Model) -> None:
    features = model(images())
    last = features.maps["last"]
    assert last.shape == (4, model.dimension, 2, 1)
    torch.testing.assert_close(features.pooled, last.flatten(2).sum(2) / 2)
    neck = model.neck
    assert neck.running_mean is not None
    assert neck.running_var is not None
    expected = (features.pooled - neck.running_mean) / (neck.running_var + neck.eps).sqrt() * neck.weight + neck.bias
    torch.testing.assert_close(features.embedding, expected)
    assert features.parts is None
    assert set(features.maps) == {"last"}


@torch.no_grad()
def test_in_training_the_neck_uses_the_batch(model: Model) -> None:
    model.train()
    features = model(images())
    pooled = features.pooled
    expected = (pooled - pooled.mean(0)) / (pooled.var(0, unbiased=False) + model.neck.eps).sqrt() * model.neck.weight
    torch.testing.assert_close(features.embedding, expected, atol=1e-4, rtol=1e-4)


def test_the_necks_bias_is_zero_and_frozen() -> None:
    model = Model(Architecture(backbone="test_resnet"), SMALL)
    assert not model.neck.bias.requires_grad
    assert not model.neck.bias.any()
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == ["neck.bias"]


def test_stages_and_stride_are_the_architectures() -> None:
    model = Model(Architecture(backbone="test_resnet", last_stride_1=False, stages=("layer3", "layer1")), SMALL).eval()
    maps = model(images()).maps
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "layer1": (4, 32, 8, 4),
        "layer3": (4, 192, 2, 1),
        "last": (4, 96, 1, 1),
    }


@torch.no_grad()
def test_pooling_and_neck_stay_in_float32_under_autocast(model: Model) -> None:
    expected = model(images()).embedding
    with torch.autocast("cpu", torch.bfloat16):
        features = model(images())
    assert features.maps["last"].dtype == torch.bfloat16
    assert features.pooled.dtype == features.embedding.dtype == torch.float32
    torch.testing.assert_close(features.pooled, features.maps["last"].float().mean((2, 3)))
    torch.testing.assert_close(features.embedding, expected, atol=0.5, rtol=0.1)


def test_a_route_lasts_for_one_forward(model: Model) -> None:
    spy = Spy()
    model.backbone.network.maxpool = spy
    route = Route(torch.zeros(4, dtype=torch.int64))
    model(images(), route)
    model(images())
    assert spy.seen == [route, None]
    with pytest.raises(ValueError, match="broken"):
        model(torch.full((1, 3, 32, 16), float("nan")), route)
    assert spy.route is None


def test_two_models_in_two_threads_keep_their_routes() -> None:
    models = [Model(Architecture(backbone="test_resnet"), SMALL).eval() for _ in range(2)]
    spies, routes = [Spy(), Spy()], [Route(torch.tensor([k])) for k in range(2)]
    for each, spy in zip(models, spies, strict=True):
        each.backbone.network.maxpool = spy
    barrier = threading.Barrier(2)

    def work(k: int) -> None:
        for _ in range(5):
            barrier.wait()
            models[k](images(1), routes[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for spy, route in zip(spies, routes, strict=True):
        assert len(spy.seen) == 5
        assert all(seen is route for seen in spy.seen)


def test_weights_are_channels_last(model: Model) -> None:
    wide = [p for p in model.parameters() if p.ndim == 4 and p.shape[2] > 1 and p.shape[1] > 1]
    assert wide
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)


def test_embed_batch_is_the_forward_in_eval_mode_and_leaves_the_mode(model: Model) -> None:
    pixels = torch.randint(0, 256, (3, 3, 32, 16), dtype=torch.uint8)
    with torch.no_grad():
        expected = model(SMALL.normalise(pixels)).embedding
    model.train()
    statistics = {key: value.clone() for key, value in model.state_dict().items()}
    assert torch.equal(model.embed_batch(pixels), expected)
    assert model.training
    assert all(torch.equal(value, statistics[key]) for key, value in model.state_dict().items())
    model.eval()
    model.embed_batch(pixels)
    assert not model.training


def test_an_embedding_of_another_width() -> None:
    plain, narrow = (Model(Architecture(backbone="test_resnet", embedding=width), SMALL).eval() for width in (0, 12))
    assert plain.projection is None
    assert narrow.projection is not None
    assert (narrow.dimension, narrow.neck.num_features) == (12, 12)
    narrow.backbone.load_state_dict(plain.backbone.state_dict())
    images = torch.randn(3, 3, SMALL.height, SMALL.width)
    with torch.no_grad():
        wide, features = plain(images), narrow(images)
        torch.testing.assert_close(features.pooled, wide.pooled @ narrow.projection.weight.T)
        torch.testing.assert_close(features.embedding, narrow.neck(features.pooled))
