"""The primitive under every norm: moments of an image's maps -> one scale and one shift per image and channel."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from passerby.models.norm.places import input_gradient, moments, products, scale_and_shift

Algebra = Callable[..., tuple[Tensor, ...]]
"""(mean [N, C], variance [N, C], *parameters) -> (scale, shift, *observed), scale and shift [N, C] or [C]; pure."""


def normalise(maps: Tensor, algebra: Algebra, *parameters: Tensor) -> tuple[Tensor, ...]:
    """Puts out y = scale x + shift, where `algebra` makes scale and shift of the maps' moments over places and of parameters.

    Batch statistics follow from the moments (`batch_statistics`), so batch norm, instance norm and every mix of them are
    some lines of algebra on [N, C] numbers; nothing of the size of the maps but the result is written. Autograd
    differentiates the algebra alone; through the maps the gradient is

        dx = scale g + d_mean / P + 2 d_variance (x - mean) / P,    with d_scale = sum(g x), d_shift = sum(g) over P places.

    Moments, algebra and sums are float32 at least, under autocast too. Derivatives of derivatives take the plain formula.

    Args:
        maps: x [N, C, h, w].
        algebra: see `Algebra`.
        parameters: what it takes beside the moments; gradients reach them.

    Returns:
        y, in the dtype and memory format of `maps`, and what the algebra observed, without gradient.
    """
    if torch.compiler.is_compiling():  # the compiler fuses the plain formula better than it follows blocks
        return _plain(maps, algebra, parameters)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (maps, *parameters)):
        result: tuple[Tensor, ...] = _Normalise.apply(maps, algebra, *parameters)
        return result
    with torch.autocast(maps.device.type, enabled=False):
        scale, shift, *observed = algebra(*moments(maps), *parameters)
    return scale_and_shift(maps, scale, shift), *observed


def scaled(maps: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Puts out scale x + shift, for norms that need not look at the maps: no moments are made, else as `normalise`.

    Args:
        maps: x [N, C, h, w].
        scale: [N, C] or [C].
        shift: likewise.
    """
    if torch.compiler.is_compiling():
        return (scale[..., None, None] * maps + shift[..., None, None]).to(maps.dtype)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (maps, scale, shift)):
        result: Tensor = _Scaled.apply(maps, scale, shift)
        return result
    return scale_and_shift(maps, scale, shift)


def image_moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance [N, C] of maps [N, C, h, w] over places, with gradients; float32 at least, under autocast too.

    Forward and backward pass over the maps once each; plain autograd does so ten times.
    """
    if torch.compiler.is_compiling():
        variance, mean = torch.var_mean(maps.to(torch.promote_types(maps.dtype, torch.float32)), (2, 3), correction=0)
        return mean, variance
    found: tuple[Tensor, Tensor] = _ImageMoments.apply(maps)
    return found


class _ImageMoments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = moments(maps)
        ctx.save_for_backward(maps, mean)
        return mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_mean: Tensor, of_variance: Tensor) -> Tensor:
        maps, mean = ctx.saved_tensors
        per_place = 1 / (maps.shape[2] * maps.shape[3])
        linear = 2 * per_place * of_variance
        result: Tensor = scale_and_shift(maps, linear, per_place * of_mean - linear * mean)
        return result


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(maps, scale)
        return scale_and_shift(maps, scale, shift)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, scale = ctx.saved_tensors
        wide = torch.promote_types(maps.dtype, torch.float32)
        if torch.is_grad_enabled():  # the caller wants to differentiate this gradient too
            of_maps = (scale[..., None, None] * gradient).to(maps.dtype)
            sums = (maps.to(wide) * gradient).sum((2, 3)), gradient.to(wide).sum((2, 3))
            return of_maps, *(total.sum_to_size(scale.shape) for total in sums)
        of_maps = scale_and_shift(gradient, scale, torch.zeros_like(scale), maps) if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[1:]):
            return of_maps, None, None
        return of_maps, *(total.sum_to_size(scale.shape) for total in products(maps, gradient))


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, algebra: Algebra, *parameters: Tensor) -> tuple[Tensor, ...]:
        wanted = (ctx.needs_input_grad[0],) * 2 + ctx.needs_input_grad[2:]
        with torch.autocast(maps.device.type, enabled=False):
            inputs = (*moments(maps), *parameters)
            with torch.enable_grad():
                leaves = [t.detach().requires_grad_(need) for t, need in zip(inputs, wanted, strict=True)]
                scale, shift, *observed = algebra(*leaves)
        ctx.algebra, ctx.leaves, ctx.outputs = algebra, leaves, (scale, shift)
        ctx.save_for_backward(maps, *parameters)
        observed = [value.detach() for value in observed]
        ctx.mark_non_differentiable(*observed)
        return scale_and_shift(maps, scale.detach(), shift.detach()), *observed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        maps, *parameters = ctx.saved_tensors
        if torch.is_grad_enabled():  # the caller wants to differentiate this gradient too
            of_maps, *of_parameters = _differentiable(ctx, gradient, (maps, *parameters))
            return of_maps, None, *of_parameters
        with torch.autocast(maps.device.type, enabled=False):
            sums = products(maps, gradient)
            outputs = [(o, s.sum_to_size(o.shape)) for o, s in zip(ctx.outputs, sums, strict=True) if o.requires_grad]
            wanted = [leaf for leaf in ctx.leaves if leaf.requires_grad]
            found = iter(
                torch.autograd.grad(
                    [output for output, _ in outputs],
                    wanted,
                    [total for _, total in outputs],
                    retain_graph=True,
                    allow_unused=True,
                )
                if outputs
                else [None] * len(wanted)
            )
            of_mean, of_variance, *of_parameters = [next(found) if leaf.requires_grad else None for leaf in ctx.leaves]
            of_maps = None
            if ctx.needs_input_grad[0]:
                mean, scale = ctx.leaves[0].detach(), ctx.outputs[0].detach().expand(maps.shape[:2])
                zero = torch.zeros_like(mean)
                per_place = 1 / (maps.shape[2] * maps.shape[3])
                linear = zero if of_variance is None else 2 * per_place * of_variance
                constant = (zero if of_mean is None else per_place * of_mean) - linear * mean
                of_maps = input_gradient(maps, gradient, scale, linear, constant)
        return of_maps, None, *of_parameters


def _differentiable(ctx: Any, gradient: Tensor, inputs: tuple[Tensor, ...]) -> list[Tensor | None]:
    """Gradients of the plain formula, with a graph of their own."""
    wanted = [t for t, need in zip(inputs, (ctx.needs_input_grad[0], *ctx.needs_input_grad[2:]), strict=True) if need]
    y = _plain(inputs[0], ctx.algebra, inputs[1:])[0]
    found = iter(torch.autograd.grad(y, wanted, gradient, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in (ctx.needs_input_grad[0], *ctx.needs_input_grad[2:])]


def _plain(maps: Tensor, algebra: Algebra, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with torch.autocast(maps.device.type, enabled=False):
        x = maps.to(torch.promote_types(maps.dtype, torch.float32))
        variance, mean = torch.var_mean(x, (2, 3), correction=0)
        scale, shift, *observed = algebra(mean, variance, *parameters)
        y = scale[..., None, None] * x + shift[..., None, None]
    return y.to(maps.dtype), *[value.detach() for value in observed]
