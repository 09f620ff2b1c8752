"""The baseline, and what every method shares."""

import math
from typing import Any

import lightning
import pytest
import torch

from passerby.data.augment import Augmentation, augment
from passerby.data.images import Preprocessing
from passerby.data.training_set import Batch
from passerby.errors import PasserbyError
from passerby.methods import METHODS, get_method
from passerby.methods.base import TrainingFacts
from passerby.methods.baseline import Baseline, BaselineSettings
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.model import Architecture, Model, NormKind
from passerby.seeding import torch_generator

SMALL = Preprocessing(height=32, width=16)
IDENTITY = torch.tensor([0, 0, 1, 1, 4, 4, 2, 2])

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def baseline(norm: NormKind = "batch", **settings: Any) -> Baseline:
    torch.manual_seed(0)
    facts = TrainingFacts(
        classes=5,
        domains=1,
        steps=10,
        seed=7,
        optimizer=OptimizerSettings(name="sgd", lr=0.1),
        schedule=ScheduleSettings(decay="cosine", warmup=0.5, warmup_start=0.1),
        augmentation=Augmentation(flip=0.5, pad=2),
    )
    return Baseline(
        Model(Architecture(backbone="test_resnet", norm=norm), SMALL), facts, BaselineSettings.model_validate(settings)
    )


def batch(step: int = 0, dtype: torch.dtype = torch.float32) -> Batch:
    images = torch.randint(0, 256, (8, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    return Batch(
        images if dtype == torch.uint8 else SMALL.normalise(images), IDENTITY, IDENTITY * 0, IDENTITY * 0, step
    )


def test_gradients_reach_everything_but_the_necks_bias() -> None:
    method = baseline()
    method.training_step(batch(), 0).backward()
    without = [name for name, parameter in method.named_parameters() if parameter.grad is None]
    assert without == ["model.neck.bias"]
    first_convolution = next(p for p in method.model.backbone.parameters() if p.ndim == 4)
    for parameter in (method.model.neck.weight, method.classifier.weight, first_convolution):
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) > 0


@pytest.mark.parametrize(("smoothing", "weight", "margin"), [(0.1, 1.0, 0.3), (0.0, 1.0, 0.3), (0.4, 0.25, 5.0)])
def test_the_losses_are_the_plain_formulas(smoothing: float, weight: float, margin: float) -> None:
    method = baseline(label_smoothing=smoothing, triplet_weight=weight, triplet_margin=margin)
    with torch.no_grad():
        features = method.model(batch().images)
        method.classifier.weight.mul_(300)  # away from equal logits
        losses = method.losses(batch())
        logits = features.embedding.double() @ method.classifier.weight.double().T
    cross_entropy = 0.0
    for row, own in zip(logits.tolist(), IDENTITY.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(value) for value in row))
        target = [smoothing / 5 + (1 - smoothing) * (k == own) for k in range(5)]
        cross_entropy -= sum(t * (value - log_sum) for t, value in zip(target, row, strict=True)) / 8
    points, triplet = features.pooled.double(), 0.0
    for a in range(8):
        distance = (points - points[a]).norm(dim=1)
        same = IDENTITY[a] == IDENTITY
        triplet += max(0.0, margin + float(distance[same].max() - distance[~same].min())) / 8
    assert float(losses["cross_entropy"]) == pytest.approx(cross_entropy, rel=1e-4)
    assert float(losses["triplet"]) == pytest.approx(weight * triplet, rel=1e-3, abs=1e-4)
    assert float(method.total(losses, 8)) == pytest.approx(cross_entropy + weight * triplet, rel=1e-3)


def test_losses_are_named_as_announced_and_logged_with_their_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    method, logged = baseline(), {}
    monkeypatch.setattr(method, "log_dict", lambda values, **_: logged.update(values))
    monkeypatch.setattr(method, "log", lambda name, value, **_: logged.update({name: value}))
    loss = method.training_step(batch(), 0)
    assert tuple(name for name in logged if name not in {"loss", "accuracy"}) == Baseline.loss_names
    assert torch.equal(logged["loss"], loss)
    assert float(loss.detach()) == pytest.approx(sum(float(logged[name].detach()) for name in Baseline.loss_names))
    always = torch.nn.functional.one_hot(IDENTITY[:1], 5).float().repeat(len(IDENTITY), 1)
    monkeypatch.setattr(method.classifier, "forward", lambda _: always)
    method.training_step(batch(), 0)
    assert float(logged["accuracy"]) == float((IDENTITY[0] == IDENTITY).float().mean())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_and_is_named(value: float) -> None:
    method = baseline()
    with torch.no_grad():
        method.classifier.weight.fill_(value)
    with pytest.raises(PasserbyError, match=r"loss 'cross_entropy' is nan at step 0.*lr") as error:
        method.training_step(batch(), 0)
    assert "\n" not in str(error.value)


def test_losses_are_float32_under_autocast() -> None:
    method = baseline()
    with torch.autocast("cpu", torch.bfloat16):
        losses = method.losses(batch())
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


def test_batches_are_augmented_by_seed_and_step_alone() -> None:
    method = baseline()
    raw = batch(dtype=torch.uint8).images
    for step in (3, 4):
        torch.manual_seed(step)
        found = method.on_after_batch_transfer(batch(step, torch.uint8), 0).images
        assert torch.equal(found, augment(raw, method.facts.augmentation, SMALL, torch_generator(7, step, 0, 0)))
    assert not torch.equal(found, method.on_after_batch_transfer(batch(3, torch.uint8), 0).images)


def test_what_the_network_draws_depends_on_the_step_alone() -> None:
    method, draws = baseline(), []
    for step, noise in ((3, 0), (3, 1), (4, 0)):
        torch.manual_seed(noise)
        method.on_train_batch_start(batch(step), 0)
        draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_rate_follows_the_schedule_over_the_runs_steps() -> None:
    method = baseline()
    chosen: Any = method.configure_optimizers()
    optimizer, scheduler = chosen["optimizer"], chosen["lr_scheduler"]["scheduler"]
    assert chosen["lr_scheduler"]["interval"] == "step"
    pretrained, new = ({id(p) for p in group["params"]} for group in optimizer.param_groups)
    assert pretrained == {id(p) for p in method.model.backbone.parameters()}
    assert new == {id(method.model.neck.weight), id(method.classifier.weight)}
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == [pytest.approx(0.1 * method.facts.schedule.factor(k / 10)) for k in range(10)]


@pytest.mark.parametrize("norm", ["bin", "bin-one-affine"])
def test_gates_that_the_base_step_trains_stay_between_0_and_1(norm: NormKind, monkeypatch: pytest.MonkeyPatch) -> None:
    method = baseline(norm)
    gates = [p for name, p in method.named_parameters() if name.endswith("gate")]

    def outside(*_: Any, **__: Any) -> None:
        for gate in gates:
            gate.data.copy_(torch.linspace(-1, 2, len(gate)))

    monkeypatch.setattr(lightning.LightningModule, "optimizer_step", outside)
    method.optimizer_step(0, 0, None)
    assert gates
    for gate in gates:
        torch.testing.assert_close(gate.detach(), torch.linspace(-1, 2, len(gate)).clamp(0, 1))


def test_methods_by_name() -> None:
    assert get_method("baseline") is Baseline
    assert {method.Settings.model_fields["name"].default for method in METHODS.values()} == set(METHODS)
    with pytest.raises(PasserbyError, match=r"method\.name: no method 'basline'; did you mean 'baseline'"):
        get_method("basline")
