"""AdaBN against statistics computed by hand."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from passerby.adaptation import AdaBn
from passerby.adaptation.base import batch_norms, network_input
from passerby.data.images import Pixels
from passerby.models.model import Model

Build = Callable[..., Model]
Scene = Callable[..., Pixels]


def first_norms_input(model: Model, images: Pixels) -> tuple[str, Tensor]:
    """The name of the first batch norm and what it sees, [C, values]: a convolution of the images."""
    convolution, norm = model.backbone.network.conv1[0], model.backbone.network.conv1[1]
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        maps = convolution(network_input(model, images))
    return "backbone.network.conv1.1", maps.double().transpose(0, 1).flatten(1)


def batch_statistics(model: Model, images: Pixels) -> dict[str, Tensor]:
    """Running statistics of one batch alone, as the norms keep them in training."""
    copy = deepcopy(model)
    for norm in batch_norms(copy).values():
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        copy(network_input(copy, images), parts=True)
    return {name: value for name, value in copy.state_dict().items() if "running" in name}


def test_weight_1_on_one_batch_is_the_batchs_own_statistics(model: Model, scene: Scene) -> None:
    images = scene(24)
    adapted = AdaBn(weight=1).adapt(model, images)
    assert AdaBn().look(model, images) == {}
    name, values = first_norms_input(model, images)
    torch.testing.assert_close(adapted[f"{name}.running_mean"].double(), values.mean(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(adapted[f"{name}.running_var"].double(), values.var(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["dualnorm", "batch", "synchronised", "half", "bin"])
def test_every_layer_sees_what_the_layers_before_put_out_when_they_normalise_by_the_batch(
    norm: Any, build: Build, scene: Scene
) -> None:
    model, images = build(norm), scene(24)
    expected = batch_statistics(model, images)
    found = AdaBn(weight=1).adapt(model, images)
    assert {f"{name}.{key}" for name in batch_norms(model) for key in ("running_mean", "running_var")} == set(found)
    assert {"neck.running_mean", "parts.local.2.1.running_var"} <= set(found)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4, msg=name)  # another order of images


@pytest.mark.parametrize("weight", [0.3, 0.75])
def test_the_weight_mixes_new_statistics_with_the_sources(weight: float, model: Model, scene: Scene) -> None:
    new = AdaBn(weight=1).adapt(model, scene(24))
    mixed = AdaBn(weight=weight).adapt(model, scene(24))
    for name, old in model.state_dict().items():
        if name in mixed:
            torch.testing.assert_close(mixed[name], (1 - weight) * old + weight * new[name])
    assert AdaBn().weight == 0.3


def test_batches_count_evenly(model: Model, scene: Scene) -> None:
    images = scene(128)
    order = torch.randperm(128, generator=torch.Generator().manual_seed(5)).numpy()
    batches = [batch_statistics(model, images[order[half]]) for half in (slice(0, 64), slice(64, 128))]
    found = AdaBn(weight=1).adapt(model, images, seed=5)
    for name, value in found.items():
        torch.testing.assert_close(value, (batches[0][name] + batches[1][name]) / 2, rtol=1e-4, atol=1e-5, msg=name)


def test_one_pass_without_gradients_in_which_only_batch_norms_train(
    model: Model, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, seen = Model.forward, 0

    def watched(self: Model, images: Tensor, **options: Any) -> Any:
        nonlocal seen
        seen += len(images)
        assert not torch.is_grad_enabled()
        norms = set(map(id, batch_norms(self).values()))
        assert {id(module) for module in self.modules() if module.training} == norms
        return forward(self, images, **options)

    monkeypatch.setattr(Model, "forward", watched)
    AdaBn().adapt(model, scene(70))
    assert seen == 70
