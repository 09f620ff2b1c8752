"""MetaBIN: what each step moves, the episode against the plain algorithm, and what it refuses."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from passerby.data.augment import Augmentation
from passerby.data.images import Preprocessing
from passerby.data.training_set import Batch
from passerby.errors import PasserbyError
from passerby.losses.scatter import intra_domain_scatter
from passerby.losses.shuffle import inter_domain_shuffle
from passerby.methods import metabin as metabin_module
from passerby.methods.base import TrainingFacts
from passerby.methods.metabin import MetaBin, MetaBinSettings, inner_step
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.model import Architecture, Model, NormKind

SMALL = Preprocessing(height=32, width=16)
DOMAIN = torch.arange(3).repeat_interleave(4)
IDENTITY = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def metabin(domains: int = 3, norm: NormKind = "bin", **settings: Any) -> MetaBin:
    torch.manual_seed(0)
    facts = TrainingFacts(
        classes=6,
        domains=domains,
        steps=100,
        seed=7,
        optimizer=OptimizerSettings(name="sgd", lr=0.1),
        schedule=ScheduleSettings(decay="constant", warmup=0),
        augmentation=Augmentation(flip=0),
    )
    model = Model(Architecture(backbone="test_resnet", norm=norm), SMALL)
    return MetaBin(model, facts, MetaBinSettings.model_validate(settings))


def batch(step: int = 3) -> Batch:
    pixels = torch.randint(0, 256, (12, 3, 32, 16), generator=torch.Generator().manual_seed(2)).float()
    return Batch(SMALL.normalise(pixels), IDENTITY, IDENTITY * 0, DOMAIN, step)


def state(method: MetaBin) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


def changed(method: MetaBin, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}


def test_the_base_step_never_touches_gates() -> None:
    method = metabin()
    for gate in method.gates.values():
        gate.data.fill_(0.5)
    before = state(method)
    optimizer: Any = method.configure_optimizers()
    method.training_step(batch(), 0).backward()
    optimizer["optimizer"].step()
    moved = changed(method, before)
    assert not any(name.endswith("gate") for name in moved)
    for part in ("classifier.weight", "conv1.0.weight", "bn1.weight", "instance_weight", "running_mean", "neck.weight"):
        assert any(name.endswith(part) for name in moved), part


def test_the_meta_step_touches_nothing_else() -> None:
    method = metabin(inner_lr=(0.5, 0.5), gate_lr=10.0)
    for gate in method.gates.values():
        gate.data.fill_(0.5)
    before = state(method)
    method.meta_step(batch())
    moved = changed(method, before)
    gates = {f"model.{name}" for name in method.gates}
    assert moved <= gates
    assert len(moved) > 3  # the last norm of a block starts at weight 0: nothing reaches the gates before it
    assert all(float(gate.min()) >= 0 and float(gate.max()) <= 1 for gate in method.gates.values())
    assert all(p.grad is None for p in method.parameters())
    assert all(
        p.requires_grad for name, p in method.named_parameters() if "gate" not in name and "neck.bias" not in name
    )


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("cross_entropy", [False, True])
def test_an_episode_is_the_plain_algorithm(second_order: bool, cross_entropy: bool) -> None:
    extra = ("cross_entropy",) if cross_entropy else ()
    method = metabin(
        second_order=second_order,
        inner_lr=(0.3, 0.3),
        gate_lr=0.05,
        meta_train=("scatter", "shuffle", "triplet", *extra),
        meta_test=("triplet", *extra),
    )
    for index, gate in enumerate(method.gates.values()):
        gate.data.uniform_(0.02, 0.98, generator=torch.Generator().manual_seed(index))
    episode = batch()
    for_train = method.split(episode)
    assert int(for_train.sum()) == 8  # two of three domains
    gates = {name: gate.detach().clone().requires_grad_() for name, gate in method.gates.items()}
    buffers = {name: value.clone() for name, value in method.model.named_buffers()}

    def loss(values: dict[str, Tensor], part: Tensor, names: tuple[str, ...]) -> Tensor:
        copies = {name: value.clone() for name, value in buffers.items()}
        features = functional_call(method.model, {**values, **copies}, (episode.images[part],))
        identity, domain = IDENTITY[part], DOMAIN[part]
        terms = {
            "scatter": intra_domain_scatter(features.pooled, domain),
            "shuffle": inter_domain_shuffle(features.pooled, identity, domain),
            "triplet": method.triplet(features.pooled, identity),
            "cross_entropy": F.cross_entropy(method.classifier(features.embedding), identity, label_smoothing=0.1),
        }
        return sum((terms[name] for name in names), torch.tensor(0.0))

    inner = torch.autograd.grad(
        loss(gates, for_train, ("scatter", "shuffle", "triplet", *extra)),
        list(gates.values()),
        create_graph=second_order,
    )
    moved = {name: gate - 0.3 * g for (name, gate), g in zip(gates.items(), inner, strict=True)}
    # Straight through: the clamped value, the gradient of the value before.
    clamped = {name: gate + (gate.clamp(0, 1) - gate).detach() for name, gate in moved.items()}
    outer = torch.autograd.grad(loss(clamped, ~for_train, ("triplet", *extra)), list(gates.values()))
    expected = {
        name: (gate.detach() - 0.05 * g).clamp(0, 1) for (name, gate), g in zip(gates.items(), outer, strict=True)
    }
    method.meta_step(episode)
    for name, gate in method.gates.items():
        torch.testing.assert_close(gate.detach(), expected[name], rtol=1e-4, atol=1e-6)
    assert max(float((expected[name] - gates[name].detach()).abs().max()) for name in gates) > 1e-5


def test_the_inner_step_swings_in_triangles() -> None:
    method = metabin(inner_lr=(0.1, 0.5), inner_period=0.2)  # 100 steps: a period of 20
    swings = [method.inner_lr(step) for step in range(41)]
    assert swings[0] == pytest.approx(0.1)
    assert swings[5] == pytest.approx(0.3)
    assert swings[10] == pytest.approx(0.5)
    assert swings[15] == pytest.approx(0.3)
    assert swings[20:41] == pytest.approx(swings[0:21])
    fixed = metabin(inner_lr=(0.2, 0.2))
    assert {fixed.inner_lr(step) for step in range(30)} == {0.2}


def test_domains_are_split_anew_at_each_step() -> None:
    method = metabin()
    parts = [tuple(method.split(batch(step)).view(3, 4)[:, 0].tolist()) for step in range(40)]
    assert {sum(part) for part in parts} == {2}
    assert len(set(parts)) == 3
    assert parts == [tuple(method.split(batch(step)).view(3, 4)[:, 0].tolist()) for step in range(40)]
    assert metabin(domains=5).meta_train_domains == 3
    assert metabin(domains=2).meta_train_domains == 1
    assert metabin(domains=5, meta_train_domains=4).meta_train_domains == 4


def test_no_weight_gradient_is_computed_in_a_meta_step(monkeypatch: pytest.MonkeyPatch) -> None:
    method = metabin()
    seen: list[bool] = []
    convolution = torch.nn.Conv2d.forward

    def watched(self: torch.nn.Conv2d, x: Tensor) -> Tensor:
        seen.append(self.weight.requires_grad)
        return convolution(self, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    method.meta_step(batch())
    assert seen
    assert not any(seen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "batch"}, "model.norm to bin"),
        ({"domains": 1}, "data.domains to camera"),
        ({"meta_train_domains": 3}, "at most 2"),
    ],
)
def test_what_it_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PasserbyError, match=message):
        metabin(**options)


def test_the_mean_of_the_processes_gradients_moves_the_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, among = metabin(), metabin()
    alone.meta_step(batch())
    # Three processes that all find the same gradient: their mean is the gradient of one.
    monkeypatch.setattr(metabin_module, "sum_over_processes", lambda values: 3 * values)
    monkeypatch.setattr(metabin_module, "process_count", lambda: 3)
    among.meta_step(batch())
    for name, gate in alone.gates.items():
        torch.testing.assert_close(among.gates[name], gate)
    assert min(float(gate.min()) for gate in alone.gates.values()) < 1


def test_the_triplets_weight_counts_in_episodes_too() -> None:
    everything = torch.ones(12, dtype=torch.bool)
    one, four = (metabin(triplet_weight=w).meta_loss({}, batch(), everything, ("triplet",)) for w in (1.0, 4.0))
    assert float(one) > 0
    assert float(four) == pytest.approx(4 * float(one), rel=1e-4)


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="inner_lr"):
        MetaBinSettings(inner_lr=(0.2, 0.1))


def test_the_inner_step_ends_in_the_unit_interval_and_gradients_pass_as_if_it_did_not() -> None:
    gate = torch.tensor([0.05, 0.5, 0.99], requires_grad=True)
    moved = inner_step({"gate": gate}, (torch.tensor([1.0, 1.0, -1.0]),), 0.1)["gate"]
    torch.testing.assert_close(moved, torch.tensor([0.0, 0.4, 1.0]))
    (gradient,) = torch.autograd.grad(moved.sum(), gate)
    assert gradient.tolist() == [1, 1, 1]


def test_a_push_is_the_share_of_gates_that_go_down_and_moves_nothing() -> None:
    method = metabin()
    for gate in method.gates.values():
        gate.data.fill_(0.5)
    before = state(method)
    found = method.gate_pushes(batch())
    assert changed(method, before) == set()
    for name in ("scatter", "shuffle", "triplet"):
        gates = {key: gate.detach().requires_grad_() for key, gate in method.gates.items()}
        loss = method.meta_loss(gates, batch(), method.split(batch()), (name,))
        down = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(gates.values()))])
        expected = float((down > 0).sum()) / float((down != 0).sum())
        assert float(found[name]) == pytest.approx(expected)
        assert 0 < expected < 1
