"""Sums over the places of maps, and maps scaled and shifted, in blocks of images that stay in a CPU's cache."""

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK_BYTES = 2**19
"""What the second-level cache of a CPU core holds beside its other work."""


def places_dim(maps: Tensor) -> int:
    """Where `as_places` puts the places of maps [N, C, h, w] so that it need not copy: 1 in channels_last, else 2."""
    return 1 if maps.stride(1) == 1 else 2


def as_places(maps: Tensor, dim: int) -> Tensor:
    """Maps [N, C, h, w] as [N, C, places] (`dim` 2) or [N, places, C] (`dim` 1)."""
    n, c, h, w = maps.shape
    return maps.reshape(n, c, h * w) if dim == 2 else maps.permute(0, 2, 3, 1).reshape(n, h * w, c)


def moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of every map over its places.

    Args:
        maps: [N, C, h, w], any floating dtype and memory format.

    Returns:
        mean and (biased) variance [N, C]; float32, or float64 for float64 maps.
    """
    dtype = torch.promote_types(maps.dtype, torch.float32)
    if maps.device.type != "cpu":
        variance, mean = torch.var_mean(maps.to(dtype), (2, 3), correction=0)
        return mean, variance
    dim = places_dim(maps)
    places = as_places(maps, dim)
    mean = torch.empty(maps.shape[:2], dtype=dtype)
    variance = torch.empty_like(mean)
    for block in _blocks(places):
        torch.mean(places[block], dim, dtype=dtype, out=mean[block])
        # Two passes, as exact as torch.var; the second finds the block in the cache.
        centred = places[block] - mean[block].unsqueeze(dim)
        torch.mean(centred.square_(), dim, out=variance[block])
    return mean, variance


def scale_and_shift(maps: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Puts out scale x + shift with one scale and shift a map, in the dtype and memory format of `maps`.

    Args:
        maps: [N, C, h, w].
        scale: [N, C] or [C].
        shift: [N, C] or [C].
    """
    dim = places_dim(maps)
    out = torch.empty_like(maps)
    shape = maps.shape[:2]
    scale, shift = (values.expand(shape).unsqueeze(dim) for values in (scale, shift))
    torch.addcmul(shift, as_places(maps, dim), scale, out=as_places(out, dim))
    return out


def gradient_sums(maps: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of a loss with respect to the scale and the shift of each map: sum(g x) and sum(g) over places.

    Args:
        maps: x [N, C, h, w].
        gradient: g [N, C, h, w], of the scaled and shifted maps.

    Returns:
        both [N, C]; float32, or float64 for float64 maps.
    """
    dtype = torch.promote_types(maps.dtype, torch.float32)
    dim = places_dim(maps)
    places, gradients = as_places(maps, dim), as_places(gradient, dim)
    of_shift = gradients.sum(dim, dtype=dtype)
    of_scale = torch.empty_like(of_shift)
    for block in _blocks(places):
        torch.sum(places[block] * gradients[block], dim, dtype=dtype, out=of_scale[block])
    return of_scale, of_shift


def input_gradient(maps: Tensor, gradient: Tensor, scale: Tensor, linear: Tensor, constant: Tensor) -> Tensor:
    """Puts out scale g + linear x + constant, in the dtype and memory format of `maps`.

    Args:
        maps: x [N, C, h, w].
        gradient: g [N, C, h, w].
        scale: [N, C].
        linear: [N, C].
        constant: [N, C].
    """
    dim = places_dim(maps)
    out = torch.empty_like(maps)
    places, gradients, result = as_places(maps, dim), as_places(gradient, dim), as_places(out, dim)
    scale, linear, constant = (values.unsqueeze(dim) for values in (scale, linear, constant))
    for block in _blocks(places):
        torch.addcmul(constant[block], places[block], linear[block], out=result[block])
        result[block].addcmul_(gradients[block], scale[block])
    return out


def _blocks(places: Tensor) -> Iterator[slice]:
    """Slices of images: a few at a time on the CPU, all at once elsewhere."""
    images = len(places)
    step = images
    if images and places.device.type == "cpu":
        step = max(1, _BLOCK_BYTES // (4 * max(1, places[0].numel())))
    for start in range(0, images, max(1, step)):
        yield slice(start, start + step)
