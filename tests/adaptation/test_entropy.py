"""The entropy rule: the plain formula, what it moves, and that it falls."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from passerby.adaptation import Entropy
from passerby.adaptation.base import BATCH, batch_norms, wearing
from passerby.data.images import Pixels
from passerby.models.model import Model

Build = Callable[..., Model]
Scene = Callable[..., Pixels]


def plain_entropy(embedding: Tensor, neighbours: int, temperature: float) -> float:
    """Mean entropy of each image's similarities to its nearest others, image by image."""
    total = 0.0
    for row, own in enumerate(embedding.double()):
        others = [float(own @ other) for k, other in enumerate(embedding.double()) if k != row]
        exponentials = [math.exp(s / temperature) for s in sorted(others, reverse=True)[:neighbours]]
        probabilities = [e / sum(exponentials) for e in exponentials]
        total -= sum(p * math.log(p) for p in probabilities)
    return total / len(embedding)


@pytest.mark.parametrize(("neighbours", "temperature"), [(50, 0.1), (3, 0.5)])
def test_a_look_gives_the_plain_entropy(neighbours: int, temperature: float, model: Model, scene: Scene) -> None:
    images, rule = scene(20), Entropy(neighbours=neighbours, temperature=temperature, lr=0.01)
    found = rule.look(model, images)
    assert found == {"entropy": pytest.approx(plain_entropy(model.embed(images), neighbours, temperature), rel=1e-4)}
    assert found["entropy"] < math.log(min(neighbours, 19))


def test_many_images_a_block_at_a_time(model: Model, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    images, seen = scene(200), []
    entropy = Entropy._entropy

    def watched(self: Entropy, embedding: Tensor, rows: Tensor, bank: Tensor) -> Tensor:
        seen.append((len(embedding), len(bank), torch.is_grad_enabled() and embedding.requires_grad))
        return entropy(self, embedding, rows, bank)

    monkeypatch.setattr(Entropy, "_entropy", watched)
    rule = Entropy(lr=0.01)
    with wearing(model, rule.adapt(model, images)):
        expected = plain_entropy(model.embed(images), 50, 0.1)
        assert rule.look(model, images) == {"entropy": pytest.approx(expected, rel=1e-4)}
    # Never all images against all images, and everything once: in training, and in the look.
    assert max(rows for rows, _, _ in seen) <= 1.5 * BATCH < 200
    assert sum(rows for rows, _, _ in seen) == 2 * 200
    assert sum(rows for rows, _, learns in seen if learns) == 200
    assert {bank for _, bank, _ in seen} == {200}


def test_the_gradients_are_those_of_the_plain_rule(model: Model, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    images = scene(12)
    seen: list[dict[str, Tensor]] = []
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    def watched(self: torch.optim.Adam, *_: Any) -> None:
        chosen = [p for group in self.param_groups for p in group["params"]]
        seen.append({names[id(p)]: p.grad.clone() for p in chosen if p.grad is not None})

    monkeypatch.setattr(
        torch.optim.Adam, "step", watched
    )  # weights stay, so every epoch's gradients are of the same model
    Entropy(neighbours=5, epochs=3).adapt(model, images, seed=1)
    bank = model.embed(images)
    for norm in batch_norms(model).values():
        norm.train()
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    embedding = torch.nn.functional.normalize(model(model.preprocessing.normalise(pixels)).embedding)
    losses = []
    for row, own in enumerate(embedding):
        similarity = torch.stack([own @ other for k, other in enumerate(bank) if k != row])
        probability = torch.softmax(similarity.sort(descending=True).values[:5] / 0.1, 0)
        losses.append(-(probability * probability.log()).sum())
    # The batch norms on the embedding's road, weight and bias, and nothing else; the BNNeck's bias is frozen.
    on_road = [f"{name}.{key}" for name in batch_norms(model) if "parts" not in name for key in ("weight", "bias")]
    on_road.remove("neck.bias")
    parameters = dict(model.named_parameters())
    expected = torch.autograd.grad(torch.stack(losses).mean(), [parameters[name] for name in on_road])
    assert len(seen) == 3
    for found in seen:
        assert set(found) == set(on_road)
        for name, gradient in zip(on_road, expected, strict=True):
            scale = float(gradient.abs().max())  # another order of images sums in another order
            torch.testing.assert_close(found[name], gradient, rtol=0, atol=0.02 * scale + 1e-5, msg=name)


def test_it_falls_by_its_steps_and_not_by_the_statistics_alone(model: Model, scene: Scene) -> None:
    images = scene(32)
    after = []
    for lr in (1e-12, 0.01):
        rule = Entropy(lr=lr, epochs=10, weight=1)
        with wearing(model, rule.adapt(model, images)):
            after.append(rule.look(model, images)["entropy"])
    still, moved = after
    assert moved < still - 0.1
    assert moved < Entropy().look(model, images)["entropy"] - 0.1


def test_part_heads_are_returned_as_they_were(model: Model, build: Build, scene: Scene) -> None:
    adapted = Entropy(lr=0.01).adapt(model, scene(12))
    heads = {name for name in adapted if name.startswith("parts.")}
    assert heads
    assert all(torch.equal(adapted[name], model.state_dict()[name]) for name in heads)
    without = Entropy(lr=0.01).adapt(build(stripes=0), scene(12))
    assert not any(name.startswith("parts.") for name in without)
