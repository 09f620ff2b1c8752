"""Sums over the places of maps, and maps scaled and shifted: everything that a norm does at the size of the maps."""

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK_BYTES = 2**21
"""Of products that are summed at once and then overwritten: two CPU cores keep so much in their second-level caches."""
_CANCELLED = 1e-2
"""Below this fraction of the squared mean, a variance from sums of squares has lost digits."""


def moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of every map over its places.

    Args:
        maps: [N, C, h, w], any floating dtype and memory format.

    Returns:
        mean and (biased) variance [N, C]; float32, or float64 for float64 maps.
    """
    if maps.device.type != "cpu":
        variance, mean = torch.var_mean(_wide(maps), (2, 3), correction=0)
        return mean, variance
    per_place = 1 / maps[0, 0].numel() if maps.numel() else 0.0
    square, mean = (total.mul_(per_place) for total in products(maps, maps))
    variance = square.addcmul_(mean, mean, value=-1)
    lost = variance < _CANCELLED * mean * mean
    if bool(lost.any()):  # few maps, if any: they are measured again, around their means
        image, channel = lost.nonzero(as_tuple=True)
        variance[image, channel] = torch.var(_wide(maps[image, channel]), (1, 2), correction=0)
    return mean, variance


def products(maps: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """sum(g x) and sum(g) over places: gradients of a loss with respect to the scale and the shift of each map.

    Args:
        maps: x [N, C, h, w].
        gradient: g [N, C, h, w], of the scaled and shifted maps.

    Returns:
        both [N, C]; float32, or float64 for float64 maps.
    """
    n, c, h, w = maps.shape
    maps, gradient = _wide(maps), _wide(gradient)
    if maps.device.type != "cpu":
        return (maps * gradient).sum((2, 3)), gradient.sum((2, 3))
    if _places_dim(maps) == 2 and maps.numel():
        # The gradients of a group norm's affine, one group a map, are these very sums, made in one vectorised pass.
        rows = n * c
        zeros, ones = maps.new_zeros(1, rows), maps.new_ones(1, rows)
        # torch before 2.15 trips over maps that are not contiguous and an affine that is not there.
        x, g = (tensor.reshape(1, rows, h * w).contiguous() for tensor in (maps, gradient))
        _, of_scale, of_shift = torch.ops.aten.native_group_norm_backward(
            g, x, zeros, ones, ones.view(rows), 1, rows, h * w, rows, [False, True, True]
        )
        return of_scale.view(n, c), of_shift.view(n, c)
    x, g = _as_places(maps, 1), _as_places(gradient, 1)
    of_scale, of_shift = maps.new_empty(n, c), maps.new_empty(n, c)
    product: Tensor | None = None
    for block in _blocks(x):
        # One block's memory serves all: it stays in the cache.
        product = torch.mul(x[block], g[block], out=None if product is None else product[: len(x[block])])
        torch.sum(product, 1, out=of_scale[block])
        torch.sum(g[block], 1, out=of_shift[block])
    return of_scale, of_shift


def scale_and_shift(maps: Tensor, scale: Tensor, shift: Tensor, like: Tensor | None = None) -> Tensor:
    """Puts out scale x + shift with one scale and shift a map.

    Args:
        maps: x [N, C, h, w].
        scale: [N, C] or [C].
        shift: [N, C] or [C].
        like: has the dtype and memory format of the result; None: `maps` has.
    """
    n, c, _, _ = maps.shape
    out = torch.empty_like(maps if like is None else like)
    dim = _places_dim(out)
    _scale_and_shift(_as_places(maps, dim), scale.expand(n, c), shift.expand(n, c), dim, _as_places(out, dim))
    return out


def input_gradient(maps: Tensor, gradient: Tensor, scale: Tensor, linear: Tensor, constant: Tensor) -> Tensor:
    """Puts out scale g + linear x + constant, in the dtype and memory format of `maps`.

    Args:
        maps: x [N, C, h, w].
        gradient: g [N, C, h, w].
        scale: [N, C].
        linear: [N, C].
        constant: [N, C].
    """
    dim = _places_dim(maps)
    out = torch.empty_like(maps)
    places, gradients, result = (_as_places(tensor, dim) for tensor in (maps, gradient, out))
    _scale_and_shift(places, linear, constant, dim, result)
    result.addcmul_(gradients, scale.unsqueeze(dim))
    return out


def _scale_and_shift(places: Tensor, scale: Tensor, shift: Tensor, dim: int, out: Tensor) -> None:
    """Writes scale x + shift into `out`, which has the shape of `places`; scale and shift are [N, C]."""
    on_cpu = places.device.type == "cpu" and places.dtype == scale.dtype
    if dim == 2 and on_cpu and places.is_contiguous() and out.is_contiguous():
        # A batch norm whose running statistics are 0 and 1, one channel a map: faster than a broadcast over rows.
        rows = scale.numel()
        zeros, ones, unused = scale.new_zeros(rows), scale.new_ones(rows), scale.new_empty(0)
        torch.ops.aten.native_batch_norm.out(
            places.view(1, rows, places.shape[2]),
            scale.reshape(rows),
            shift.reshape(rows),
            zeros,
            ones,
            False,
            0.0,
            0.0,
            out=out.view(1, rows, places.shape[2]),
            save_mean=unused,
            save_invstd=unused,
        )
    else:
        torch.addcmul(shift.unsqueeze(dim), places, scale.unsqueeze(dim), out=out)


def _wide(maps: Tensor) -> Tensor:
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def _places_dim(maps: Tensor) -> int:
    """Where `_as_places` puts the places of maps [N, C, h, w] so that it need not copy: 1 in channels_last, else 2."""
    return 1 if maps.stride(1) == 1 else 2


def _as_places(maps: Tensor, dim: int) -> Tensor:
    """Maps [N, C, h, w] as [N, C, places] (`dim` 2) or [N, places, C] (`dim` 1)."""
    n, c, h, w = maps.shape
    return maps.reshape(n, c, h * w) if dim == 2 else maps.permute(0, 2, 3, 1).reshape(n, h * w, c)


def _blocks(places: Tensor) -> Iterator[slice]:
    """Slices of images: a few at a time on the CPU, all at once elsewhere."""
    images = len(places)
    step = images
    if images and places.device.type == "cpu":
        step = max(1, _BLOCK_BYTES // (places.element_size() * max(1, places[0].numel())))
    for start in range(0, images, max(1, step)):
        yield slice(start, start + step)
