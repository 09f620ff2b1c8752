"""The primitive: exact against the plain formula, in every memory format, first and second derivatives."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from passerby.models.norm import normalise
from passerby.models.norm import places as places_module
from passerby.models.norm.primitive import image_moments, scaled


def algebra(mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """Something that uses everything, in no form that a norm has."""
    scale = weight * torch.rsqrt(variance + 0.1) + 0.3 * mean.mean(0)
    return scale, bias - scale * mean + variance.sum(1, keepdim=True), mean.mean(0)


def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    scale, shift, _ = algebra(x.mean((2, 3)), x.var((2, 3), correction=0), weight, bias)
    return scale[:, :, None, None] * x + shift[:, :, None, None]


def inputs(dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = (3, 4, 5, 2)) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = 2 + 3 * torch.randn(shape, generator=generator, dtype=dtype)
    weight, bias = (torch.randn(shape[1], generator=generator, dtype=dtype) for _ in range(2))
    return x, weight, bias


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "every other channel": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "first channels of channels_last": lambda x: torch.cat([x, x], 1).contiguous(memory_format=torch.channels_last)[
        :, : x.shape[1]
    ],
    "a window": lambda x: torch.nn.functional.pad(x, (1, 1, 1, 1))[:, :, 1:-1, 1:-1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("block", [1, 2**19])
def test_equals_the_plain_formula(layout: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_module, "_BLOCK_BYTES", block)
    x, weight, bias = inputs()
    ours = [
        LAYOUTS[layout](x).detach().requires_grad_(),
        weight.clone().requires_grad_(),
        bias.clone().requires_grad_(),
    ]
    theirs = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
    y, observed = normalise(ours[0], algebra, *ours[1:])
    expected = plain(*theirs)
    gradient = torch.randn(expected.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(y, expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(observed, x.mean((0, 2, 3)))
    assert not observed.requires_grad
    found = torch.autograd.grad(y, ours, gradient)
    for one, other in zip(found, torch.autograd.grad(expected, theirs, gradient), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_large_maps_that_hardly_vary(layout: str) -> None:
    x, weight, bias = inputs(shape=(3, 4, 16, 9))
    x[1, 2] = 1e3 + 1e-2 * x[1, 2]  # hardly varies
    x[2, 0] = 5.0  # does not vary
    ours = [t.clone().requires_grad_() for t in (x, weight, bias)]
    theirs = [t.clone().requires_grad_() for t in (x, weight, bias)]
    y, _ = normalise(LAYOUTS[layout](ours[0]), algebra, *ours[1:])
    expected = plain(LAYOUTS[layout](theirs[0]), *theirs[1:])
    torch.testing.assert_close(y, expected, rtol=1e-8, atol=1e-6)
    gradient = torch.randn(y.shape, dtype=y.dtype)
    if layout == "channels_last":
        gradient = gradient.contiguous(memory_format=torch.channels_last)
    found = torch.autograd.grad(y, ours, gradient)
    for one, other in zip(found, torch.autograd.grad(expected, theirs, gradient), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("by_image", [True, False])
def test_scaled_is_scale_x_plus_shift(layout: str, by_image: bool) -> None:
    x, weight, bias = inputs()
    maps = LAYOUTS[layout](x).requires_grad_()
    shape = maps.shape[:2] if by_image else weight.shape
    scale, shift = ((t.detach() + torch.rand(shape, dtype=t.dtype)).requires_grad_() for t in (weight, bias))
    y = scaled(maps, scale, shift)
    expected = scale[..., None, None] * maps + shift[..., None, None]
    torch.testing.assert_close(y, expected, rtol=1e-13, atol=1e-13)
    gradient = torch.randn(y.shape, dtype=y.dtype)
    found = torch.autograd.grad(y, (maps, scale, shift), gradient)
    for one, other in zip(found, torch.autograd.grad(expected, (maps, scale, shift), gradient), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(scaled(maps, scale, shift), y)


@pytest.mark.parametrize("by_image", [True, False])
def test_derivatives_of_scaled_by_finite_differences(by_image: bool) -> None:
    maps = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    shape = (2, 3) if by_image else (3,)
    scale, shift = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(scaled, (maps, scale, shift))
    assert torch.autograd.gradgradcheck(scaled, (maps, scale, shift))


def test_keeps_the_memory_format() -> None:
    x, weight, bias = inputs()
    for layout in ("contiguous", "channels_last"):
        maps = LAYOUTS[layout](x).requires_grad_()
        for y in (normalise(maps, algebra, weight, bias)[0], scaled(maps, weight, bias)):
            assert y.stride() == maps.stride()
            assert torch.autograd.grad(y.sum(), maps)[0].stride() == maps.stride()


def test_a_gradient_in_another_memory_format() -> None:
    x, weight, bias = inputs()
    maps = LAYOUTS["channels_last"](x).requires_grad_()
    y, _ = normalise(maps, algebra, weight, bias)
    gradient = torch.randn(y.shape, dtype=y.dtype)
    (found,) = torch.autograd.grad(y, maps, gradient, retain_graph=True)
    (again,) = torch.autograd.grad(y, maps, gradient.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, again, rtol=1e-13, atol=1e-13)


def test_first_and_second_derivatives_by_finite_differences() -> None:
    x, weight, bias = (t.requires_grad_() for t in inputs(shape=(2, 3, 2, 2)))

    def first(*tensors: Tensor) -> Tensor:
        return normalise(tensors[0], algebra, *tensors[1:])[0]

    assert torch.autograd.gradcheck(first, (x, weight, bias))
    assert torch.autograd.gradgradcheck(first, (x, weight, bias))


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_gradients_reach_what_wants_them_and_nothing_else(wanted: tuple[bool, ...]) -> None:
    tensors = [t.requires_grad_(want) for t, want in zip(inputs(), wanted, strict=True)]
    y, _ = normalise(tensors[0], algebra, *tensors[1:])
    y.square().sum().backward()
    assert tuple(t.grad is not None for t in tensors) == wanted


def test_without_gradients_the_same_numbers() -> None:
    x, weight, bias = inputs(torch.float32)
    with torch.no_grad():
        silent, _ = normalise(x, algebra, weight, bias)
    y, _ = normalise(x.requires_grad_(), algebra, weight, bias)
    assert torch.equal(silent, y)
    assert silent.grad_fn is None


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)), st.booleans(), st.integers(0)
)
def test_any_shape(shape: tuple[int, ...], last: bool, seed: int) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed % 2**32), dtype=torch.float64)
    x = (x.contiguous(memory_format=torch.channels_last) if last else x).requires_grad_()
    weight, bias = torch.ones(shape[1]).double(), torch.zeros(shape[1]).double()
    y, _ = normalise(x, algebra, weight, bias)
    expected = plain(x, weight, bias)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(y.sin().sum(), x)[0],
        torch.autograd.grad(expected.sin().sum(), x)[0],
        rtol=1e-10,
        atol=1e-10,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_maps_have_float32_statistics(dtype: torch.dtype) -> None:
    seen: list[Tensor] = []

    def watch(mean: Tensor, variance: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        product = mean @ mean.T  # autocast would make this a product of halves
        seen.extend((mean, variance, product))
        return weight * torch.rsqrt(variance + 1e-5), -mean

    maps = (100 + torch.randn(2, 3, 8, 8)).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y, *_ = normalise(maps, watch, torch.ones(3))
    assert y.dtype == dtype
    assert {t.dtype for t in seen} == {torch.float32}
    torch.testing.assert_close(seen[0], maps.detach().float().mean((2, 3)))
    y.float().sum().backward()
    assert maps.grad is not None
    assert maps.grad.dtype == dtype


def test_a_gradient_taken_under_autocast_is_float32_inside() -> None:
    def mixed(mean: Tensor, variance: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        return weight + mean @ mean.T @ variance, -mean @ variance.T @ mean  # autocast makes halves of products

    maps, weight = torch.randn(2, 3, 8, 8).requires_grad_(), torch.rand(3).requires_grad_()
    plain = torch.autograd.grad(normalise(maps, mixed, weight)[0].sin().sum(), [maps, weight])
    with torch.autocast("cpu", torch.bfloat16):
        ours = torch.autograd.grad(normalise(maps, mixed, weight)[0].sin().sum(), [maps, weight])
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_a_large_mean_does_not_drown_a_small_variance() -> None:
    x = 1000 + 0.01 * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, variance = places_module.moments(x.float())
    torch.testing.assert_close(variance.double(), x.float().double().var((2, 3), correction=0), rtol=1e-4, atol=0)
    torch.testing.assert_close(mean.double(), x.float().double().mean((2, 3)), rtol=1e-6, atol=0)


def test_compiled_it_takes_the_plain_formula() -> None:
    x, weight, bias = inputs()
    compiled = torch.compile(lambda x, w, b: normalise(x, algebra, w, b)[0], backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, weight, bias), plain(x, weight, bias), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_variance_keeps_its_digits_far_from_zero(layout: str) -> None:
    x = torch.randn(3, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    x[1, 2] += 1000
    x[2, 0] = 7  # a map of one value
    mean, variance = places_module.moments(LAYOUTS[layout](x))
    torch.testing.assert_close(mean, x.double().mean((2, 3)).float(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(variance, x.var((2, 3), correction=0), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_no_images_make_no_maps_forward_and_backward(layout: str) -> None:
    x, weight, bias = inputs(shape=(3, 4, 5, 2))
    none = LAYOUTS[layout](x)[:0].requires_grad_()

    def affine(mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        return weight * torch.rsqrt(variance + 1), bias - mean

    with torch.no_grad():
        assert normalise(none, affine, weight, bias)[0].shape == (0, 4, 5, 2)
    y = normalise(none, affine, weight.requires_grad_(), bias)[0]
    y.sum().backward()
    assert none.grad is not None
    assert none.grad.shape == none.shape
    assert weight.grad is not None
    assert not weight.grad.any()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_moments_of_images_and_their_gradients(memory_format: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 5, 4, 2, generator=generator, dtype=torch.float64).to(memory_format=memory_format) + 2
    maps.requires_grad_()
    mean, variance = image_moments(maps)
    torch.testing.assert_close(mean, maps.mean((2, 3)))
    torch.testing.assert_close(variance, maps.var((2, 3), correction=0))
    assert torch.autograd.gradcheck(image_moments, maps)
    with torch.autocast("cpu", torch.bfloat16):
        half = maps.detach().bfloat16().requires_grad_()
        found = image_moments(half)
    assert {m.dtype for m in found} == {torch.float32}
    found[1].sum().backward()
    assert half.grad is not None
    plain = 2 / 8 * (half.detach().float() - half.detach().float().mean((2, 3), keepdim=True))
    torch.testing.assert_close(half.grad.float(), plain, rtol=0.02, atol=0.01)
