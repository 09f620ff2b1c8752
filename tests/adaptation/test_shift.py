"""How far a place is: by hand for the first norm, 0 where a layer knows what it sees."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from passerby.adaptation import AdaBn
from passerby.adaptation import shift as module
from passerby.adaptation.base import batch_norms, network_input, wearing
from passerby.adaptation.shift import LayerShift, norm_shift, place_distance
from passerby.data.images import Pixels
from passerby.models.model import Model

Build = Callable[..., Model]
Scene = Callable[..., Pixels]
Unchanged = Callable[[nn.Module], Callable[[], None]]


def by_hand(model: Model, images: Pixels, name: str) -> tuple[Tensor, Tensor]:
    """Shift of the mean and ratio of the deviations of what one layer sees of all images at once."""
    layer, seen = model.get_submodule(name), []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].double()))
    with torch.no_grad():
        model(network_input(model, images), parts=True)
    handle.remove()
    values = seen[0].transpose(0, 1).flatten(1)
    spread = (layer.running_var.double() + layer.eps).sqrt()
    variance = (values - values.mean(1, keepdim=True)).square().mean(1)
    return (values.mean(1) - layer.running_mean.double()) / spread, (variance + layer.eps).sqrt() / spread


@pytest.mark.parametrize("count", [20, 130])  # one batch, two batches
def test_every_layer_by_hand(model: Model, scene: Scene, count: int) -> None:
    images = scene(count)
    shifts = norm_shift(model, images)
    assert [shift.name for shift in shifts] == list(batch_norms(model))
    for shift in shifts:
        mean, deviation = by_hand(model, images, shift.name)
        torch.testing.assert_close(shift.mean, mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(shift.deviation, deviation, rtol=1e-3, atol=1e-4)
        distances = [((m**2) + (d - 1) ** 2) ** 0.5 for m, d in zip(mean.tolist(), deviation.tolist(), strict=True)]
        assert shift.distance == pytest.approx(sum(distances) / len(distances), rel=1e-3)


def test_the_first_norm_from_the_pixels(model: Model, scene: Scene) -> None:
    images = scene(20)
    convolution, norm = model.backbone.network.conv1[0], model.backbone.network.conv1[1]
    with torch.no_grad():
        maps = convolution(network_input(model, images)).double()
    first = norm_shift(model, images)[0]
    assert first.name == "backbone.network.conv1.1"
    for channel in (0, 7, 15):
        values = maps[:, channel]
        spread = float(norm.running_var[channel] + norm.eps) ** 0.5
        assert float(first.mean[channel]) == pytest.approx(
            (float(values.mean()) - float(norm.running_mean[channel])) / spread, rel=1e-4
        )
        assert float(first.deviation[channel]) == pytest.approx(
            float(values.var(correction=0) + norm.eps) ** 0.5 / spread, rel=1e-4
        )


def test_images_that_the_statistics_are_of_are_at_no_distance(model: Model, scene: Scene) -> None:
    images = scene(64)
    far = norm_shift(model, images)
    with wearing(model, AdaBn(weight=1).adapt(model, images)):
        near = norm_shift(model, images)
        other = norm_shift(model, 255 - scene(64, seed=1) // 4)
    for shift in near:
        assert shift.distance < 0.02, shift.name  # the running variance is the unbiased one
    assert place_distance(near) < 0.02 < 0.3 < place_distance(other)
    assert place_distance(far) > 0.3
    assert place_distance(far) == pytest.approx(sum(shift.distance for shift in far) / len(far))


def test_the_distance_of_two_gaussians() -> None:
    same = LayerShift("a", torch.zeros(3), torch.ones(3))
    moved = LayerShift("b", torch.tensor([3.0, 0.0]), torch.tensor([5.0, 1.5]))
    assert same.distance == 0
    assert moved.distance == pytest.approx((5 + 0.5) / 2)
    assert place_distance([same, moved]) == pytest.approx(moved.distance / 2)


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_what_it_was(
    model: Model, scene: Scene, unchanged: Unchanged, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.train(training)
    check = unchanged(model)
    norm_shift(model, scene(9))
    check()
    monkeypatch.setattr(module, "network_input", lambda *_: torch.zeros(1, 2))
    with pytest.raises((RuntimeError, ValueError)):
        norm_shift(model, scene(9))
    check()


@pytest.mark.parametrize("norm", ["batch", "synchronised", "half", "bin", "instance"])
def test_any_norm_of_the_house(norm: Any, build: Build, scene: Scene) -> None:
    model = build(norm, stripes=0)
    shifts = norm_shift(model, scene(20))
    assert [shift.name for shift in shifts] == list(batch_norms(model))
    name = shifts[0].name
    mean, deviation = by_hand(model, scene(20), name)
    torch.testing.assert_close(shifts[0].mean, mean, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(shifts[0].deviation, deviation, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_compiled_model(build: Build, scene: Scene) -> None:
    model, images = build(), scene(20)
    expected = norm_shift(model, images)
    model.backbone.compile()
    with torch.no_grad():
        model(network_input(model, images))  # compiled before it is looked at
    found = norm_shift(model, images)
    assert [shift.name for shift in found] == [shift.name for shift in expected]
    for shift, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(shift.mean, plain.mean)
        torch.testing.assert_close(shift.deviation, plain.deviation)
    adapted = AdaBn(weight=1).adapt(model, images)
    with wearing(model, adapted):
        assert place_distance(norm_shift(model, images)) < 0.05
