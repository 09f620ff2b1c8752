"""The layers: each against its formula written out with torch's own norms, and what they take over of a batch norm."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from passerby.errors import PasserbyError
from passerby.models.norm import (
    AffineNorm2d,
    BatchInstanceNorm2d,
    HalfInstanceNorm2d,
    InstanceNorm2d,
    OneAffineBatchInstanceNorm2d,
    SyncBatchNorm2d,
)

C = 5
Formula = Callable[[AffineNorm2d, nn.BatchNorm2d, Tensor], Tensor]


def shaped(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


def white(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Batch norm without its affine, running statistics untouched."""
    if norm.training:
        return F.batch_norm(x, None, None, training=True, eps=norm.eps)
    return F.batch_norm(x, norm.running_mean, norm.running_var, eps=norm.eps)


def half(layer: AffineNorm2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    instance = F.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=norm.eps)
    return torch.cat([instance[:, : C // 2], norm(x)[:, C // 2 :]], 1)


FORMULAS: dict[type[AffineNorm2d], Formula] = {
    SyncBatchNorm2d: lambda layer, norm, x: norm(x),
    InstanceNorm2d: lambda layer, norm, x: F.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=norm.eps),
    HalfInstanceNorm2d: half,
    BatchInstanceNorm2d: lambda layer, norm, x: (
        shaped(layer.gate) * norm(x)
        + (1 - shaped(layer.gate))
        * F.instance_norm(x, weight=layer.instance_weight, bias=layer.instance_bias, eps=layer.eps)
    ),
    OneAffineBatchInstanceNorm2d: lambda layer, norm, x: (
        shaped(norm.weight)
        * (shaped(layer.gate) * white(norm, x) + (1 - shaped(layer.gate)) * F.instance_norm(x, eps=norm.eps))
        + shaped(norm.bias)
    ),
}


@pytest.fixture
def norm() -> nn.BatchNorm2d:
    """A batch norm as training leaves it, in float64."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(C, eps=1e-3, momentum=0.2).double()
    for tensor in (norm.weight.data, norm.running_var):
        tensor.uniform_(0.5, 2)
    for tensor in (norm.bias.data, norm.running_mean):
        tensor.normal_()
    return norm


def scattered(layer: AffineNorm2d) -> AffineNorm2d:
    """Values of its own in every parameter that the batch norm did not have."""
    layer = layer.double()
    for name, parameter in layer.named_parameters():
        if name not in ("weight", "bias"):
            parameter.data.uniform_(0.1, 0.9)
    return layer


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", FORMULAS)
def test_equals_its_formula_forward_and_backward(
    kind: type[AffineNorm2d], training: bool, norm: nn.BatchNorm2d
) -> None:
    plain = copy.deepcopy(norm).train(training)
    layer = scattered(kind.of(norm)).train(training)
    own = {name: p for name, p in layer.named_parameters() if name not in ("weight", "bias")}
    x = (3 + 2 * torch.randn(4, C, 6, 3, dtype=torch.float64)).requires_grad_()
    y, expected = layer(x), FORMULAS[kind](layer, plain, x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    gradient = torch.randn_like(y)
    ours = torch.autograd.grad(y, [x, layer.weight, layer.bias, *own.values()], gradient, retain_graph=True)
    theirs = torch.autograd.grad(expected, [x, plain.weight, plain.bias, *own.values()], gradient, allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(
    "kind", [SyncBatchNorm2d, BatchInstanceNorm2d, HalfInstanceNorm2d, OneAffineBatchInstanceNorm2d]
)
def test_running_statistics_are_those_of_torch(
    kind: type[AffineNorm2d], momentum: float | None, norm: nn.BatchNorm2d
) -> None:
    norm.momentum = momentum
    plain = copy.deepcopy(norm)
    layer = kind.of(norm)
    for seed in range(3):
        x = torch.randn(2 + seed, C, 3, 2, generator=torch.Generator().manual_seed(seed)).double()
        layer(x)
        plain(x)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(layer, name), getattr(plain, name), rtol=1e-12, atol=1e-12)
    before = copy.deepcopy(layer.state_dict())
    layer.eval()(x)
    layer.train().hold_statistics = True
    layer(x)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("kind", FORMULAS)
def test_takes_over_the_very_tensors(kind: type[AffineNorm2d], norm: nn.BatchNorm2d) -> None:
    layer = kind.of(norm.eval())
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        assert getattr(layer, name) is getattr(norm, name)
    assert (layer.eps, layer.momentum, layer.training) == (norm.eps, norm.momentum, False)


def test_gates_at_one_are_the_batch_norm_that_was_replaced(norm: nn.BatchNorm2d) -> None:
    x = torch.randn(4, C, 6, 3, dtype=torch.float64)
    for kind in (BatchInstanceNorm2d, OneAffineBatchInstanceNorm2d):
        layer = kind.of(norm).double()
        assert layer.gate.eq(1).all()
        torch.testing.assert_close(layer.eval()(x), copy.deepcopy(norm).eval()(x), rtol=1e-12, atol=1e-12)


def test_where_the_instance_affine_starts(norm: nn.BatchNorm2d) -> None:
    copied = BatchInstanceNorm2d.of(norm)
    assert torch.equal(copied.instance_weight, norm.weight)
    assert copied.instance_weight.data_ptr() != norm.weight.data_ptr()
    assert torch.equal(copied.instance_bias, norm.bias)
    fresh = BatchInstanceNorm2d.of(norm, start="one")
    assert fresh.instance_weight.eq(1).all()
    assert fresh.instance_bias.eq(0).all()


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, track_running_stats=False)])
def test_a_batch_norm_with_nothing_to_take_over(norm: nn.BatchNorm2d) -> None:
    with pytest.raises(PasserbyError, match="nothing to take over"):
        SyncBatchNorm2d.of(norm)


def test_one_place_and_one_image_stay_finite() -> None:
    x = torch.randn(1, C, 1, 1)
    for kind in FORMULAS:
        layer = kind(C)
        assert layer(x).isfinite().all()
        assert all(value.isfinite().all() for value in layer.state_dict().values())
