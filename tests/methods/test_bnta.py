"""BNTA's training: the terms of eq. 9, which of them are there, what their gradients reach, and the published recipe."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from passerby.data.augment import Augmentation
from passerby.data.images import Preprocessing
from passerby.data.training_set import Batch
from passerby.errors import PasserbyError
from passerby.methods import METHODS, get_method
from passerby.methods.base import TrainingFacts
from passerby.methods.bnta import Bnta, BntaSettings
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.model import Architecture, Model
from passerby.models.norm_kinds import BankSettings
from passerby.recipes import load_recipe

SMALL = Preprocessing(height=32, width=16)
IDENTITY = torch.tensor([0, 0, 1, 1, 4, 4, 2, 2])
STRIPES = 3

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def facts(domains: int = 1, **optimizer: Any) -> TrainingFacts:
    return TrainingFacts(
        classes=5,
        domains=domains,
        steps=10,
        seed=7,
        optimizer=OptimizerSettings(**{"name": "sgd", "lr": 0.1, **optimizer}),
        schedule=ScheduleSettings(decay="constant", warmup=0),
        augmentation=Augmentation(flip=0),
    )


def bnta(stripes: int = STRIPES, optimizer: dict[str, Any] | None = None, **settings: Any) -> Bnta:
    """BNTA on a small network, with classifiers that tell people apart."""
    torch.manual_seed(0)
    model = Model(Architecture(backbone="test_resnet", norm="dualnorm", stripes=stripes), SMALL)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)  # timm starts the last norm of a block at 0
    method = Bnta(model, facts(**optimizer or {}), BntaSettings.model_validate(settings))
    with torch.no_grad():
        for classifier in (method.classifier, *method.part_classifiers):
            classifier.weight.mul_(300)
    return method


def batch() -> Batch:
    images = torch.randint(0, 256, (8, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    return Batch(SMALL.normalise(images), IDENTITY, IDENTITY * 0, IDENTITY * 0, 0)


def plain_cross_entropy(logits: Tensor, target: list[int], smoothing: float = 0.0) -> float:
    total, classes = 0.0, logits.shape[1]
    for row, own in zip(logits.tolist(), target, strict=True):
        log_sum = math.log(sum(math.exp(value) for value in row))
        wanted = [smoothing / classes + (1 - smoothing) * (k == own) for k in range(classes)]
        total -= sum(w * (value - log_sum) for w, value in zip(wanted, row, strict=True))
    return total / len(logits)


def plain_terms(method: Bnta, smoothing: float, margin: float) -> dict[str, float]:
    """Eq. 2, the batch-hard form of eq. 3, eq. 5 and eq. 7, without weights."""
    with torch.no_grad():
        features = method.model(batch().images, parts=True)
        logits = features.embedding.double() @ method.classifier.weight.double().T
        local = [
            features.parts.embedding[:, h].double() @ method.part_classifiers[h].weight.double().T
            for h in range(STRIPES)
        ]
    points, triplet = features.pooled.double(), 0.0
    for a in range(8):
        distance = (points - points[a]).norm(dim=1)
        same = IDENTITY[a] == IDENTITY
        triplet += max(0.0, margin + float(distance[same].max() - distance[~same].min())) / 8
    return {
        "cross_entropy": plain_cross_entropy(logits, IDENTITY.tolist(), smoothing),
        "triplet": triplet,
        "position": sum(plain_cross_entropy(features.parts.position[:, h].double(), [h] * 8) for h in range(STRIPES)),
        "matching": sum(plain_cross_entropy(logits, IDENTITY.tolist()) for logits in local),
    }


@pytest.mark.parametrize(
    ("settings", "weights", "smoothing", "margin"),
    [
        ({}, (1.0, 1.0, 0.1, 0.1), 0.1, 0.3),
        (
            {"identity_weight": 2, "triplet_weight": 0.5, "position_weight": 3, "matching_weight": 0.25},
            (2.0, 0.5, 3.0, 0.25),
            0.1,
            0.3,
        ),
        ({"label_smoothing": 0.0, "triplet_margin": 5.0}, (1.0, 1.0, 0.1, 0.1), 0.0, 5.0),
    ],
)
def test_the_terms_are_the_plain_formulas(
    settings: dict[str, Any], weights: tuple[float, ...], smoothing: float, margin: float
) -> None:
    method = bnta(**settings)
    expected = plain_terms(method, smoothing, margin)
    losses = method.losses(batch())
    assert tuple(losses) == tuple(expected) == Bnta.loss_names
    for weight, (name, value) in zip(weights, expected.items(), strict=True):
        assert float(losses[name].detach()) == pytest.approx(weight * value, rel=1e-3), name
        assert weight * value > 0.01, name


def test_without_triplet_and_smoothing_it_is_equation_9() -> None:
    method = bnta(triplet_weight=0, label_smoothing=0)
    plain = plain_terms(method, 0, 0.3)
    losses = method.losses(batch())
    assert tuple(losses) == ("cross_entropy", "position", "matching")
    expected = plain["cross_entropy"] + 0.1 * plain["position"] + 0.1 * plain["matching"]
    assert float(method.total(losses, 8).detach()) == pytest.approx(expected, rel=1e-3)


# What a loss reaches: by the start of a parameter's name.
REACHED = {
    "identity_weight": {"model.neck.weight", "classifier."},
    "triplet_weight": set(),
    "position_weight": {"model.parts.position."},
    "matching_weight": {"model.parts.local.", "part_classifiers."},
}
NAMES = dict(zip(REACHED, Bnta.loss_names, strict=True))


@pytest.mark.parametrize(
    "used",
    [
        ("identity_weight",),  # Table 3, row by row
        ("position_weight",),
        ("matching_weight",),
        ("identity_weight", "position_weight"),
        ("identity_weight", "matching_weight"),
        ("identity_weight", "position_weight", "matching_weight"),
        ("identity_weight", "triplet_weight", "position_weight", "matching_weight"),  # the default
    ],
)
def test_table_3_by_weights(used: tuple[str, ...]) -> None:
    method = bnta(**{name: 1.0 if name in used else 0.0 for name in REACHED})
    losses = method.losses(batch())
    assert tuple(losses) == tuple(NAMES[name] for name in NAMES if name in used)
    method.total(losses, 8).backward()
    reached = set().union(*(REACHED[name] for name in used))
    for name, parameter in method.named_parameters():
        own = name.startswith("model.backbone.") or name.startswith(tuple(reached))
        assert (parameter.grad is not None) == own, name
        assert parameter.grad is None or float(parameter.grad.abs().max()) > 0, name
        # What no loss reaches is frozen: nothing waits for its gradient.
        assert parameter.requires_grad == own, name


@pytest.mark.parametrize(
    ("without", "resting"),
    [
        ("identity_weight", {"classifier.weight", "model.neck.weight"}),
        ("triplet_weight", set()),
        ("position_weight", {"model.parts.position.weight", "model.parts.position.bias"}),
        ("matching_weight", {"model.parts.local.1.1.weight", "part_classifiers.0.weight"}),
    ],
)
def test_what_a_loss_without_weight_alone_reaches_stays_as_it_was(without: str, resting: set[str]) -> None:
    method = bnta(**{without: 0}, optimizer={"name": "adam", "weight_decay": 0.1})
    chosen: Any = method.configure_optimizers()
    optimizer = chosen["optimizer"]
    given = {id(p) for group in optimizer.param_groups for p in group["params"]}
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    method.training_step(batch(), 0).backward()
    optimizer.step()
    frozen = {"model.neck.bias"}
    for name, parameter in method.named_parameters():
        own = name.startswith(tuple(REACHED[without] - {"model.neck.weight"})) or name in resting
        frozen |= {name} if own else set()
        assert torch.equal(parameter, before[name]) == (name in frozen), name
        assert (id(parameter) in given) == (name not in frozen), name
    assert resting <= frozen


def test_everything_but_the_necks_bias_trains() -> None:
    method = bnta()
    method.training_step(batch(), 0).backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == ["model.neck.bias"]
    chosen: Any = method.configure_optimizers()
    pretrained, new = ({id(p) for p in group["params"]} for group in chosen["optimizer"].param_groups)
    assert pretrained == {id(p) for p in method.model.backbone.parameters()}
    assert method.model.parts is not None
    heads = [*method.model.parts.parameters(), *method.part_classifiers.parameters()]
    assert new == {id(p) for p in (method.model.neck.weight, method.classifier.weight, *heads)}


def test_a_classifier_without_bias_for_each_stripe() -> None:
    method = bnta()
    assert [tuple(c.weight.shape) for c in method.part_classifiers] == [(5, 256)] * STRIPES
    assert all(c.bias is None for c in method.part_classifiers)


def test_losses_are_float32_under_autocast() -> None:
    method = bnta()
    with torch.autocast("cpu", torch.bfloat16):
        losses = method.losses(batch())
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


def test_what_it_refuses() -> None:
    with pytest.raises(PasserbyError, match=r"no part heads; set model\.stripes"):
        bnta(stripes=0)
    with pytest.raises(PasserbyError, match="every loss of bnta has weight 0"):
        bnta(identity_weight=0, triplet_weight=0, position_weight=0, matching_weight=0)
    with pytest.raises(ValueError, match="position_weight"):
        bnta(position_weight=-0.1)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"bnta", "mgn", "qaconv", "tal"}))
def test_other_methods_refuse_part_heads(name: str) -> None:
    kind = METHODS[name]
    norm: Any = {"metabin": "bin", "lda": "domain"}.get(name, "batch")
    bank = BankSettings(domains=3)
    models = [
        Model(Architecture(backbone="test_resnet", norm=norm, bank=bank, stripes=stripes), SMALL) for stripes in (0, 3)
    ]
    kind(models[0], facts(domains=3), kind.Settings())  # type: ignore[call-arg]
    message = rf"method\.name={name}: does not train part heads; set model\.stripes to 0"
    with pytest.raises(PasserbyError, match=message):
        kind(models[1], facts(domains=3), kind.Settings())  # type: ignore[call-arg]


def test_by_name() -> None:
    assert [name for name, method in METHODS.items() if method.trains_parts] == ["bnta"]
    assert get_method("bnta") is Bnta


def test_the_published_recipe_says_the_published_settings() -> None:
    recipe = load_recipe("bnta-resnet50")
    assert (recipe.model.backbone, recipe.model.norm, recipe.model.stripes) == ("resnet50", "dualnorm", 6)
    assert (recipe.data.height, recipe.data.width) == (256, 128)
    assert recipe.data.identities * recipe.data.images_each == 64
    assert set(recipe.data.sources) == {"cuhk02", "cuhk03", "market1501", "dukemtmcreid", "cuhk-sysu"}
    assert recipe.data.images == "all"
    assert recipe.trainer.max_epochs == 60
    assert recipe.trainer.max_steps is None
    settings = recipe.method
    assert isinstance(settings, BntaSettings)
    assert (settings.identity_weight, settings.position_weight, settings.matching_weight) == (1.0, 0.1, 0.1)
    assert (settings.triplet_weight, settings.label_smoothing) == (0, 0)  # eq. 9 and 2
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.new_layers) == ("adam", 0.005, 1)
    rate = recipe.schedule.over(60 * 100)
    assert [rate(step) for step in (0, 1, 39 * 100, 40 * 100 - 1)] == [1] * 4
    assert [rate(step) for step in (40 * 100 + 1, 41 * 100, 60 * 100)] == [pytest.approx(0.1)] * 3


def test_the_house_recipe_keeps_the_baselines_losses() -> None:
    recipe = load_recipe("bnta-mobilenetv2", budget="quick")
    settings = recipe.method
    assert isinstance(settings, BntaSettings)
    assert (settings.triplet_weight, settings.label_smoothing) == (1, 0.1)
    assert (settings.position_weight, settings.matching_weight) == (0.1, 0.1)
    assert (recipe.model.backbone, recipe.model.norm, recipe.model.stripes) == ("mobilenetv2_100", "dualnorm", 6)
