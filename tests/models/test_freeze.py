"""Freezing: what may move moves, everything else is as it was, also after an exception."""

import pytest
import torch
from torch import nn

from passerby.data.images import Preprocessing
from passerby.models.freeze import evaluating, frozen
from passerby.models.model import Architecture, Model
from passerby.models.norm import BatchInstanceNorm2d
from passerby.models.norm_kinds import BankSettings
from passerby.models.route import Route


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), BatchInstanceNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))


@pytest.mark.parametrize(
    ("moving", "expected"),
    [
        ("everything", set(range(4))),
        ("norms", {1, 3}),
        ("nothing", set()),
        (lambda name: name.startswith("0."), {0}),
    ],
)
def test_only_what_may_move_takes_a_gradient(network: nn.Sequential, moving: object, expected: set[int]) -> None:
    with frozen(network, moving):  # type: ignore[arg-type]
        loss = network(torch.randn(2, 3, 2, 2).requires_grad_()).square().sum()
    loss.backward()
    assert {int(name[0]) for name, p in network.named_parameters() if p.grad is not None} == expected
    assert all(p.requires_grad for p in network.parameters())


def test_gates_alone(network: nn.Sequential) -> None:
    with frozen(network, "gates"):
        assert [name for name, p in network.named_parameters() if p.requires_grad] == ["1.gate"]


def test_what_was_frozen_before_stays_so(network: nn.Sequential) -> None:
    network[3].bias.requires_grad_(False)
    with frozen(network, "nothing"):
        pass
    assert [name for name, p in network.named_parameters() if not p.requires_grad] == ["3.bias"]


def test_statistics_rest_and_the_batch_still_counts(network: nn.Sequential) -> None:
    images = torch.randn(2, 3, 2, 2)
    before = {name: value.clone() for name, value in network.named_buffers()}
    expected = network(images)
    for name, value in network.named_buffers():
        value.copy_(before[name])
    with frozen(network, hold_statistics=True):
        torch.testing.assert_close(network(images), expected)
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    network(images)
    assert not any(torch.equal(value, before[name]) for name, value in network.named_buffers())


def test_eval_mode_still_normalises_by_running_statistics(network: nn.Sequential) -> None:
    network(torch.randn(2, 3, 2, 2))
    images = torch.randn(2, 3, 2, 2)
    expected = network.eval()(images)
    with frozen(network, hold_statistics=True):
        assert torch.equal(network(images), expected)


def test_an_exception_gives_everything_back(network: nn.Sequential) -> None:
    with pytest.raises(KeyError), frozen(network, "gates", hold_statistics=True):
        raise KeyError
    assert all(p.requires_grad for p in network.parameters())
    assert network[3].track_running_stats
    assert not network[1].hold_statistics


def test_every_layer_is_back_in_its_own_mode(network: nn.Sequential) -> None:
    network.train()
    network[3].eval()
    modes = [module.training for module in network.modules()]
    assert set(modes) == {False, True}
    with evaluating(network):
        assert not any(module.training for module in network.modules())
        network[0].train()
    assert [module.training for module in network.modules()] == modes
    with pytest.raises(KeyboardInterrupt), evaluating(network):
        raise KeyboardInterrupt
    assert [module.training for module in network.modules()] == modes
    network.eval()
    network[1].train()
    modes = [module.training for module in network.modules()]
    with evaluating(network):
        pass
    assert [module.training for module in network.modules()] == modes


def test_the_statistics_of_domains_and_of_their_neck_rest_too() -> None:
    architecture = Architecture(backbone="test_resnet", norm="domain", bank=BankSettings(domains=2))
    model = Model(architecture, Preprocessing(height=32, width=16)).train()
    route = Route(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))
    before = {name: value.clone() for name, value in model.named_buffers()}
    with frozen(model, "norms", hold_statistics=True):
        assert model.neck.weight.requires_grad
        assert not next(p for p in model.parameters() if p.ndim == 4).requires_grad
        model(torch.randn(8, 3, 32, 16), route)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    model(torch.randn(8, 3, 32, 16), route)
    assert not any(
        torch.equal(value, before[name])
        for name, value in model.named_buffers()
        if "running" in name and "neck" not in name
    )
