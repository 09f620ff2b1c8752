"""BNTA's steps against the plain algorithm: pairs, losses, the statistics and the affine."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from passerby.adaptation import BntaAdaptation
from passerby.adaptation import bnta as module
from passerby.adaptation.base import batch_norms, network_input, wearing
from passerby.data.images import Pixels
from passerby.errors import PasserbyError
from passerby.models.heads import Parts
from passerby.models.model import Model

Build = Callable[..., Model]
Scene = Callable[..., Pixels]
Pair = tuple[int, int, int]


@pytest.fixture
def model(build: Build) -> Model:
    """Two stripes, one for each row of the map: either may be the one by which a pair is nearest."""
    return build(stripes=2)


def parts_of(model: Model, images: Pixels) -> Parts:
    parts: Parts | None = model(network_input(model, images), parts=True).parts
    assert parts is not None
    return parts


def plain_pairs(model: Model, images: Pixels, count: int, unit: bool = False) -> list[Pair]:
    """Algorithm 1: (image, image, part), the nearest first, no image twice."""
    with torch.no_grad():
        local = parts_of(model, images).embedding.double()
    if unit:
        local = F.normalize(local, dim=-1)
    distance = (local[:, None] - local[None]).norm(dim=3)
    every = [(float(distance[i, j].min()), i, j) for j in range(len(images)) for i in range(j)]
    taken: set[int] = set()
    pairs: list[Pair] = []
    for _, i, j in sorted(every):
        if len(pairs) < count and not {i, j} & taken:
            taken |= {i, j}
            pairs.append((i, j, int(distance[i, j].argmin())))
    return pairs


def plain_losses(
    model: Model,
    images: Pixels,
    pairs: list[Pair],
    margin: float = 0.3,
    positions: str = "all",
    summed: bool = False,
    unit: bool = False,
) -> dict[str, Tensor]:
    """Eq. 5 and eq. 8 of one batch of pairs, image by image and pair by pair."""
    ahead, behind = [i for i, _, _ in pairs], [j for _, j, _ in pairs]
    parts = parts_of(model, images[[*ahead, *behind]])
    shared = [part for _, _, part in pairs]
    position = []
    for row, logits in enumerate(parts.position):
        looked_at = range(len(logits)) if positions == "all" else [shared[row % len(pairs)]]
        position.append(sum(-F.log_softmax(logits[h], 0)[h] for h in looked_at))
    first, second = (F.normalize(parts.embedding, dim=-1) if unit else parts.embedding).chunk(2)
    matching = []
    for k, n in enumerate(shared):
        others = [side[j, n] for side in (first, second) for j in range(len(pairs)) if j != k]
        nearest = torch.stack([(first[k, n] - other).norm() for other in others]).min()
        matching.append((margin + (first[k, n] - second[k, n]).norm() - nearest).clamp(min=0))
    total = torch.stack(matching).sum()
    return {"position": torch.stack(position).mean(), "matching": total if summed else total / len(pairs)}


def test_the_defaults_are_the_papers() -> None:
    settings = BntaAdaptation()
    assert (settings.pairs, settings.batch_pairs, settings.epochs, settings.lr) == (128, 32, 1, 0.0005)
    assert (settings.margin, settings.matching_weight, settings.position_weight) == (0.3, 1, 1)
    assert settings.features == "raw"
    assert settings.moves == ("mean", "variance", "weight", "bias")
    assert (settings.optimizer, settings.weight, settings.positions, settings.reduction) == (
        "adam",
        0.3,
        "all",
        "mean",
    )


def test_four_steps_of_32_pairs_at_128_pairs(model: Model, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    step, steps, forward, seen = torch.optim.Adam.step, [], Model.forward, []

    def counted(self: torch.optim.Adam, *args: Any) -> Any:
        steps.append({p.grad is not None for group in self.param_groups for p in group["params"]})
        return step(self, *args)

    def watched(self: Model, images: Tensor, **options: Any) -> Any:
        if torch.is_grad_enabled():
            norms = set(map(id, batch_norms(self).values()))
            assert {id(module) for module in self.modules() if module.training} == norms
            seen.append(len(images))
        return forward(self, images, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", counted)
    monkeypatch.setattr(Model, "forward", watched)
    images = scene(258)
    BntaAdaptation().adapt(model, images)
    assert len(steps) == 4
    assert seen == [64] * 4
    # Of 60 images there are 30 pairs: one batch, an epoch.
    del steps[:], seen[:]
    BntaAdaptation(epochs=2).adapt(model, images[:60])
    assert len(steps) == 2
    assert seen == [60, 60]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 8),
        ({"pairs": 5, "margin": 2.0}, 5),
        ({"positions": "paired", "reduction": "sum"}, 8),
        ({"matching_weight": 0.25, "position_weight": 3.0}, 8),
        ({"position_weight": 0.0}, 8),
        ({"moves": ("weight", "bias")}, 8),
        ({"features": "unit"}, 8),
        ({"features": "unit", "pairs": 5, "reduction": "sum", "positions": "paired"}, 5),
    ],
)
def test_a_look_gives_the_plain_losses_with_running_statistics(
    options: dict[str, Any], count: int, model: Model, scene: Scene
) -> None:
    images = scene(17)
    adaptation = BntaAdaptation(**{"lr": 0.01, "epochs": 3, **options})
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = adaptation.look(model, images)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    with wearing(model, adaptation.adapt(model, images)):
        assert adaptation.look(model, images) != before
    unit = adaptation.features == "unit"
    pairs = plain_pairs(model, images, count, unit)
    assert len(pairs) == count
    assert {part for _, _, part in pairs} == {0, 1}
    with torch.no_grad():
        expected = plain_losses(
            model, images, pairs, adaptation.margin, adaptation.positions, adaptation.reduction == "sum", unit
        )
    assert float(expected["matching"]) > 0
    assert before == {
        "position": pytest.approx(adaptation.position_weight * float(expected["position"]), rel=1e-4),
        "matching": pytest.approx(adaptation.matching_weight * float(expected["matching"]), rel=1e-4),
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"positions": "paired", "reduction": "sum", "margin": 1.0},
        {"matching_weight": 0.5, "weight": 0.4},
        {"position_weight": 0.0, "weight": 1.0},
        {"epochs": 2, "batch_pairs": 4, "lr": 1e-5},
        {"features": "unit"},
        {"features": "unit", "position_weight": 0.0},
    ],
)
def test_the_steps_are_the_plain_algorithm(options: dict[str, Any], model: Model, scene: Scene) -> None:
    images = scene(16)
    adaptation = BntaAdaptation(**{"optimizer": "sgd", "lr": 0.01, "batch_pairs": 8, **options})
    adapted = adaptation.adapt(model, images, seed=2)
    unit = adaptation.features == "unit"
    pairs = plain_pairs(model, images, 8, unit)
    kinds = (adaptation.margin, adaptation.positions, adaptation.reduction == "sum", unit)
    copy = deepcopy(model)
    statistics = [name for name in adapted if "running" in name]
    batches: list[dict[str, Tensor]] = []
    for norm in batch_norms(copy).values():
        norm.train()
        norm.momentum = 1.0  # what the batch alone says
    affine = {n: p for n, p in copy.named_parameters() if n in adapted and not n.startswith("neck.")}
    generator = torch.Generator().manual_seed(2)
    for _ in range(adaptation.epochs):
        order = torch.randperm(8, generator=generator).tolist()
        for start in range(0, 8, adaptation.batch_pairs):
            batch = [pairs[k] for k in order[start : start + adaptation.batch_pairs]]
            losses = plain_losses(copy, images, batch, *kinds)
            batches.append({name: copy.state_dict()[name].clone() for name in statistics})
            assert bool(losses["matching"] > 0)
            total = adaptation.position_weight * losses["position"] + adaptation.matching_weight * losses["matching"]
            gradients = torch.autograd.grad(total, list(affine.values()), allow_unused=True)
            with torch.no_grad():
                for parameter, gradient in zip(affine.values(), gradients, strict=True):
                    parameter -= 0 if gradient is None else adaptation.lr * gradient
    state = model.state_dict()
    expected = copy.state_dict()
    for name in statistics:  # part of the way to the mean over the batches
        mean = torch.stack([batch[name] for batch in batches]).mean(0)
        expected[name] = (1 - adaptation.weight) * state[name] + adaptation.weight * mean
    for name, value in adapted.items():  # gradients through norms of so few images lose digits
        way = float((value - state[name]).abs().max())
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5 + 0.02 * way, msg=name)
    # The BNNeck lies on no loss's path: its statistics move, its affine stays.
    assert torch.equal(adapted["neck.weight"], state["neck.weight"])
    assert not torch.equal(adapted["neck.running_mean"], state["neck.running_mean"])
    moved = {name for name in affine if not torch.equal(adapted[name], state[name])}
    assert {"backbone.network.conv1.1.weight", "backbone.network.conv1.1.bias"} <= moved
    assert any(name.startswith("parts.local.") for name in moved)


def test_without_statistics_batch_norms_keep_to_the_running_ones(
    model: Model, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Model.forward

    def watched(self: Model, images: Tensor, **options: Any) -> Any:
        assert not any(module.training for module in self.modules())
        return forward(self, images, **options)

    monkeypatch.setattr(Model, "forward", watched)
    for moves in (("weight", "bias"), ("instance",), ("convolution",)):
        BntaAdaptation(moves=moves).adapt(model, scene(12))


def test_statistics_alone_take_no_gradient(model: Model, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "backward", None)
    monkeypatch.setattr(torch.optim.Adam, "step", None)
    images = scene(16)
    adapted = BntaAdaptation(moves=("mean", "variance")).adapt(model, images)
    # With a rate of 0 statistics are all that moves, and they move the same.
    monkeypatch.undo()
    whole = BntaAdaptation(lr=0).adapt(model, images)
    assert all(torch.equal(whole[name], value) for name, value in adapted.items())
    state = model.state_dict()
    for name, value in whole.items():
        assert torch.equal(value, state[name]) == name.endswith(("weight", "bias")), name


def test_both_losses_fall(model: Model, scene: Scene) -> None:
    images, adaptation = scene(32), BntaAdaptation(moves=("weight", "bias"), lr=0.001, epochs=15)
    before = adaptation.look(model, images)
    with wearing(model, adaptation.adapt(model, images)):
        after = adaptation.look(model, images)
    assert after["position"] < before["position"] - 0.02
    assert after["matching"] < 0.8 * before["matching"]


def test_pairs_are_of_the_model_as_it_was(model: Model, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    find, seen = module.nearest_part_pairs, []

    def watched(local: Tensor, count: int) -> Any:
        seen.append((local, count))
        return find(local, count)

    monkeypatch.setattr(module, "nearest_part_pairs", watched)
    images = scene(70)
    BntaAdaptation(pairs=20, epochs=2).adapt(model, images)
    BntaAdaptation().adapt(model, images[:33])
    assert [count for _, count in seen] == [20, 16]  # K = min(pairs, N / 2), found once
    with torch.no_grad():
        torch.testing.assert_close(seen[0][0], parts_of(model, images).embedding, rtol=1e-4, atol=1e-4)


def test_a_model_without_part_heads(build: Build, scene: Scene) -> None:
    with pytest.raises(PasserbyError, match=r"bnta: the model has no part heads .*; adabn adapts any model"):
        BntaAdaptation().adapt(build(stripes=0), scene(12))


def test_which_images_pair_depends_on_whether_length_counts(model: Model, scene: Scene) -> None:
    images = scene(40)
    raw, unit = (BntaAdaptation(features=features)._every_part(model, images) for features in ("raw", "unit"))
    torch.testing.assert_close(unit.embedding.norm(dim=2), torch.ones(40, 2))
    torch.testing.assert_close(unit.embedding, F.normalize(raw.embedding, dim=2))
    assert torch.equal(unit.position, raw.position)
    assert set(plain_pairs(model, images, 20)) != set(plain_pairs(model, images, 20, unit=True))
