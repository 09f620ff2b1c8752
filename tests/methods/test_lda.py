"""LDA: its two passes against plain formulas, what gradients reach, the warm-up, and what it refuses."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from passerby.data.augment import Augmentation
from passerby.data.images import Preprocessing
from passerby.data.training_set import Batch
from passerby.errors import PasserbyError
from passerby.losses.latent import gaussian_kl
from passerby.methods.base import TrainingFacts
from passerby.methods.baseline import Baseline, BaselineSettings
from passerby.methods.lda import Lda, LdaSettings
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.model import Architecture, Model
from passerby.models.norm import DomainNorm2d
from passerby.models.route import Route, routed

SMALL = Preprocessing(height=32, width=16)
IDENTITY = torch.arange(12) // 2
DOMAIN = torch.arange(12) // 4
K = 3

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def facts(domains: int = K, names: tuple[str, ...] = ("one", "two", "three")) -> TrainingFacts:
    return TrainingFacts(6, domains, 20, 7, OptimizerSettings(), ScheduleSettings(), Augmentation(), domain_names=names)


def lda(
    norm: Any = "domain",
    bank: dict[str, Any] | None = None,
    domains: int = K,
    choices: dict[str, Any] | None = None,
    **settings: Any,
) -> Lda:
    torch.manual_seed(0)
    architecture = Architecture.model_validate(
        {"backbone": "test_resnet", "norm": norm, "bank": {"domains": domains, **(bank or {})}, **(choices or {})}
    )
    return Lda(Model(architecture, SMALL), facts(domains), LdaSettings.model_validate(settings))


def batch(step: int = 5, domain: Tensor = DOMAIN) -> Batch:
    images = torch.randn(12, 3, 32, 16, generator=torch.Generator().manual_seed(2))
    images = images + domain[:, None, None, None]
    return Batch(images, IDENTITY, IDENTITY * 0, domain, step)


@pytest.fixture(scope="module")
def method() -> Lda:
    """A method whose bank and latent distribution have seen something; tests leave its parameters as they are."""
    made = lda(consistency_weight=0.5, alignment_weight=0.25, aligned_weight=2.0)
    with torch.no_grad():
        made.classifier.weight.mul_(100)
        for step in range(3):
            made.losses(batch(step))
    return made


def test_the_six_losses_are_the_plain_formulas(method: Lda, monkeypatch: pytest.MonkeyPatch) -> None:
    colours: list[Tensor] = []
    forward = Model.forward

    def watched(self: Model, images: Tensor, route: Route | None = None, parts: bool = False) -> Any:
        if route is not None and isinstance(route.colour, Tensor):
            colours.append(route.colour)
        return forward(self, images, route, parts)

    monkeypatch.setattr(Model, "forward", watched)
    with torch.no_grad():
        losses = method.losses(batch())
        monkeypatch.undo()
        assert tuple(losses) == Lda.loss_names
        (colour,) = colours
        assert (colour != DOMAIN).all()
        assert set(colour.tolist()) <= {0, 1, 2}
        # Batch statistics do not depend on the running ones: the experts' pass can be made again. Mode A's uses the bank as it is.
        latent = method.latent()
        experts = method.model(batch().images, Route(DOMAIN))
    mode = {m: m.num_batches_tracked.clone() for m in method.model.modules() if isinstance(m, DomainNorm2d)}
    assert all(bool((count > 0).all()) for count in mode.values())
    last = experts.maps["last"].double()
    divergences = []
    for k in range(K):
        own = last[k == DOMAIN]
        mean, variance = own.mean((0, 2, 3)), own.var((0, 2, 3), correction=0)
        divergences.append(gaussian_kl(mean, variance, *(value.double() for value in latent)))
    assert float(losses["consistency"]) == pytest.approx(0.5 * float(torch.stack(divergences).mean()), rel=1e-3)
    logits = method.classifier(experts.embedding).detach()
    assert float(losses["cross_entropy"]) == pytest.approx(float(method.cross_entropy(logits, IDENTITY)), rel=1e-4)
    assert float(losses["triplet"]) == pytest.approx(float(method.triplet(experts.pooled, IDENTITY)), rel=1e-3)


def test_mode_a_is_the_network_in_other_colours(method: Lda, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def kept(features: Any, identity: Tensor, prefix: str = "") -> dict[str, Tensor]:
        seen[prefix] = features
        return Lda.identity_losses(method, features, identity, prefix)

    monkeypatch.setattr(method, "identity_losses", kept)
    with torch.no_grad():
        losses = method.losses(batch())
    features = seen["aligned_"]
    logits = method.classifier(features.embedding).detach()
    for name, plain in (
        ("aligned_cross_entropy", method.cross_entropy(logits, IDENTITY)),
        ("aligned_triplet", method.triplet(features.pooled, IDENTITY)),
    ):
        assert float(losses[name]) == pytest.approx(2 * float(plain), rel=1e-5)
    last = features.maps["last"]
    plain = torch.stack(
        [gaussian_kl(m.mean((1, 2)), m.var((1, 2), correction=0), *method.latent()) for m in last]
    ).mean()
    assert float(losses["alignment"]) == pytest.approx(0.25 * float(plain), rel=1e-3)
    assert not torch.allclose(features.pooled, seen[""].pooled, atol=1e-3)


def test_colours_are_a_function_of_seed_step_and_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    made, drawn = lda(), []

    class Stop(Exception):
        pass

    def routes(images: Tensor, route: Route) -> None:
        drawn.append(route.colour)
        raise Stop

    monkeypatch.setattr(made.model, "forward", routes)
    for step, rank, noise, seed in ((5, 0, 0, 7), (5, 0, 1, 7), (6, 0, 0, 7), (5, 1, 0, 7), (5, 0, 0, 8)):
        torch.manual_seed(noise)
        made.facts = replace(facts(), seed=seed)
        monkeypatch.setattr(Lda, "global_rank", rank)
        with pytest.raises(Stop):
            made._aligned_losses(batch(step))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[3])
    assert not torch.equal(drawn[0], drawn[4])


def test_gradients_reach_everything_but_the_necks_bias_from_the_first_step_on() -> None:
    for step in (0, 5):
        made = lda(bank={"affine": "own"})
        made.training_step(batch(step), 0).backward()
        assert [name for name, p in made.named_parameters() if p.grad is None] == ["model.neck.bias"]


def test_there_are_no_more_parameters_than_the_baselines() -> None:
    plain = Baseline(Model(Architecture(backbone="test_resnet"), SMALL), facts(), BaselineSettings())
    count = {name: p.numel() for name, p in plain.named_parameters()}
    assert sum(p.numel() for p in lda().parameters()) == sum(count.values())


def test_mode_a_leaves_the_bank_alone_and_no_gradient_passes_the_latent_distribution(method: Lda) -> None:
    banks = [m for m in method.model.modules() if isinstance(m, DomainNorm2d)]
    before = [bank.bank for bank in banks]
    with torch.no_grad():
        method._aligned_losses(batch())
    for bank, old in zip(banks, before, strict=True):
        assert torch.equal(bank.running_mean, old.mean)
        assert torch.equal(bank.running_var, old.variance)
    assert not any(value.requires_grad for value in method.latent())


def test_the_neck_keeps_statistics_of_each_mode(method: Lda) -> None:
    counts = method.model.neck.num_batches_tracked
    assert counts is not None
    assert counts[0] > 0
    assert counts[2] > 0
    assert counts[1] == 0
    assert not torch.allclose(method.model.neck.running_mean[0], method.model.neck.running_mean[2])  # type: ignore[index]


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"aligned_weight": 0, "alignment_weight": 0}, {"cross_entropy", "triplet", "consistency"}),
        ({"consistency_weight": 0, "alignment_weight": 0}, set(Lda.loss_names) - {"consistency", "alignment"}),
        ({"consistency_weight": 0}, set(Lda.loss_names) - {"consistency"}),
        ({"aligned_weight": 0}, {"cross_entropy", "triplet", "consistency", "alignment"}),
        ({"alignment_weight": 0}, set(Lda.loss_names) - {"alignment"}),
    ],
)
def test_a_weight_of_0_leaves_a_loss_out(settings: dict[str, float], left: set[str]) -> None:
    with torch.no_grad():
        assert set(lda(**settings).losses(batch())) == left


def test_mode_a_begins_after_the_warm_up() -> None:
    made = lda(warmup=0.25)
    with torch.no_grad():
        assert [len(made.losses(batch(step))) for step in (0, 4, 5, 19)] == [3, 3, 6, 6]


def test_a_domain_that_no_batch_held_is_named() -> None:
    made = lda()
    without = batch(0, torch.where(DOMAIN == 1, 0, DOMAIN))
    with torch.no_grad():
        made.losses(without)
        with pytest.raises(
            PasserbyError, match=r"mode A begins at step 5.*4 images of two: .*data\.batches=domain"
        ) as e:
            made.losses(Batch(without.images, IDENTITY, IDENTITY, without.domain, 5))
        assert "three" not in str(e.value)
        made.losses(batch(5))


def test_domains_of_three_images_each_train_with_finite_gradients_and_are_named_when_mode_a_begins() -> None:
    made = lda()
    few = torch.tensor([0, 1, 2] * 4)[:9]
    images = torch.randn(9, 3, 32, 16, generator=torch.Generator().manual_seed(2))
    small = Batch(images, IDENTITY[:9], IDENTITY[:9], few, 0)
    made.training_step(small, 0).backward()
    assert all(bool(p.grad.isfinite().all()) for p in made.parameters() if p.grad is not None)
    with pytest.raises(
        PasserbyError, match=r"4 images of one, two, three: .*raise data\.identities or data\.images_each"
    ):
        made.losses(Batch(images, IDENTITY[:9], IDENTITY[:9], few, 5))


def test_a_bank_that_was_taken_over_does_not_pass_for_one_that_was_filled() -> None:
    made = lda()
    for layer in made.model.modules():
        if isinstance(layer, DomainNorm2d):
            layer.num_batches_tracked += 1
    with torch.no_grad(), pytest.raises(PasserbyError, match=r"4 images of two: "):
        made.losses(batch(5, torch.where(DOMAIN == 1, 0, DOMAIN)))


def test_each_loss_alone_reaches_the_whole_network() -> None:
    made = lda()
    for layer in made.model.modules():
        if isinstance(layer, DomainNorm2d):
            layer.weight.data.clamp_(min=0.5)  # timm's residual branches start at 0, and nothing passes them
    convolutions = {n for n, p in made.named_parameters() if p.ndim == 4}
    for name, loss in made.losses(batch()).items():
        made.zero_grad()
        loss.backward(retain_graph=True)
        reached = {n for n, p in made.named_parameters() if p.grad is not None and float(p.grad.abs().max()) > 0}
        assert convolutions <= reached, name
        assert ("classifier.weight" in reached) == ("cross_entropy" in name), name


def test_mode_a_knows_where_an_image_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    made, routes = lda(), []
    forward = Model.forward
    monkeypatch.setattr(Model, "forward", lambda self, x, route: (routes.append(route), forward(self, x, route))[1])
    made.losses(batch())
    assert [route.mode for route in routes] == ["expert", "recolour"]
    assert all(torch.equal(route.domain, DOMAIN) for route in routes)


def test_the_latent_distribution_follows_the_experts_of_the_last_map() -> None:
    made = lda(latent_momentum=0.3, alignment_weight=0)
    with torch.no_grad():
        seen = []
        for step in range(5):
            shown = batch(step)
            shown.images[:, 0] *= 1 + step
            last = made.model(shown.images, Route(DOMAIN)).maps["last"]
            seen.append([(own.mean((0, 2, 3)), own.var((0, 2, 3), correction=0)) for own in last.split(4)])
            made.losses(shown)
    for k in range(K):
        mean, variance = seen[0][k]
        for number, (m, v) in enumerate(of_step[k] for of_step in seen[1:]):
            weight = max(1 / (number + 2), 0.3)
            mean, variance = torch.lerp(mean, m, weight), torch.lerp(variance, v, weight)
        torch.testing.assert_close(made.latent.mean[k], mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(made.latent.variance[k], variance, rtol=1e-3, atol=1e-4)


def test_the_triplets_weight_counts_in_both_modes() -> None:
    with torch.no_grad():
        one, double = (lda(triplet_weight=w).losses(batch()) for w in (1.0, 2.0))
    for name in ("triplet", "aligned_triplet"):
        assert float(double[name]) == pytest.approx(2 * float(one[name]), rel=1e-5)


def test_losses_are_float32_under_autocast_and_finite() -> None:
    made = lda()
    with torch.autocast("cpu", torch.bfloat16):
        losses = made.losses(batch())
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert all(bool(loss.isfinite()) for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in made.parameters() if p.grad is not None)


@pytest.mark.parametrize("after", ["batch", "pooled", "none"])
@pytest.mark.parametrize("norm", ["domain", "domain-ibn-a"])
def test_every_reading_trains(after: str, norm: str) -> None:
    made = lda(norm, {"after": after})
    loss = made.training_step(batch(), 0)
    loss.backward()
    assert bool(loss.isfinite())
    layer = next(m for m in made.model.modules() if isinstance(m, DomainNorm2d))
    with routed(layer, Route(None, "recolour")):
        channels = layer.instance_channels + layer.running_mean.shape[1]
        assert layer.eval()(torch.randn(2, channels, 4, 2)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "batch"}, r"set model\.norm to domain"),
        ({"domains": 1}, r"one domain has no other.*data\.domains"),
        ({"bank": {"attention": 4}}, r"set model\.bank\.attention to 0"),
        ({"choices": {"backbone": "resnet10t", "head": "mgn"}}, r"set model\.head to pooled"),
    ],
)
def test_models_and_data_that_it_cannot_train(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PasserbyError, match=message):
        lda(**options)
