"""Soft-edged shapes on a stack of pictures: each shape is evaluated for all pictures at once, inside one window.

A shape is a distance to its outline, so that edges are anti-aliased and the place inside the shape is known: `across`
(-1 at the left outline, 1 at the right one) tells where its surface faces and so how light falls on it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from passerby.data.synthetic.draws import Floats, Ints
from passerby.data.synthetic.pose import Point


@dataclass(frozen=True)
class Patch:
    """A shape evaluated in the window that holds it in all pictures.

    Attributes:
        window: rows and columns of the pictures.
        cover: [N, h, w] share of each pixel that the shape covers.
        across: [N, h, w] from -1 (left outline) to 1 (right outline); beyond them outside.
        along: [N, h, w] or [N, h, 1] from 0 (start, top) to 1 (end, bottom).
    """

    window: tuple[slice, slice]
    cover: Floats
    across: Floats
    along: Floats


class Canvas:
    """N pictures with transparency, painted from back to front.

    Attributes:
        rgb: [N, 3, H, W] light, premultiplied by `alpha`.
        alpha: [N, H, W] from 0 (empty) to 1 (covered).
    """

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        """Empty pictures of `size` (height, width)."""
        self.rgb = np.zeros((count, 3, *size), np.float32)
        self.alpha = np.zeros((count, *size), np.float32)
        self.rows = np.arange(size[0], dtype=np.float32) + 0.5
        self.columns = np.arange(size[1], dtype=np.float32) + 0.5

    def window(
        self, left: Floats, right: Floats, top: Floats, bottom: Floats, shown: NDArray[np.bool_]
    ) -> tuple[slice, slice]:
        """The rows and columns that hold a box of every picture in which it is `shown`."""
        if not shown.any():
            return slice(0, 0), slice(0, 0)
        rows = slice(*np.clip([top[shown].min() - 1, bottom[shown].max() + 2], 0, len(self.rows)).astype(int))
        columns = slice(*np.clip([left[shown].min() - 1, right[shown].max() + 2], 0, len(self.columns)).astype(int))
        return rows, columns

    def paint(
        self, patch: Patch, colour: Floats, light: Floats | None = None, pictures: slice | Ints = slice(None)
    ) -> None:
        """Lays a shape over what is there.

        Args:
            patch: the shape.
            colour: [N, 3] or [N, 3, h, w].
            light: [N, h, w] factor on the colour, or None for 1.
            pictures: the N pictures to paint on; all of them unless it says otherwise.
        """
        rows, columns = patch.window
        if patch.cover.size == 0:
            return
        keep = 1 - patch.cover
        lit = patch.cover if light is None else patch.cover * light
        colour = colour[:, :, None, None] if colour.ndim == 2 else colour
        for channel in range(3):  # one after the other: what is worked on stays in the cache
            target = self.rgb[pictures, channel, rows, columns]
            target *= keep
            target += colour[:, channel] * lit
            if not isinstance(pictures, slice):  # then the target is a copy
                self.rgb[pictures, channel, rows, columns] = target
        alpha = self.alpha[pictures, rows, columns]
        alpha *= keep
        alpha += patch.cover
        if not isinstance(pictures, slice):
            self.alpha[pictures, rows, columns] = alpha


def everywhere(count: int) -> NDArray[np.bool_]:
    """[N] true: a shape shown in all pictures."""
    return np.ones(count, np.bool_)


def limb(canvas: Canvas, start: Point, end: Point, r0: Floats, r1: Floats, shown: NDArray[np.bool_]) -> Patch:
    """A tapered rod with round ends, of radius `r0` [N] at `start` and `r1` [N] at `end`, in pixels."""
    (x0, y0), (x1, y1) = start, end
    rows, columns = canvas.window(
        np.minimum(x0 - r0, x1 - r1),
        np.maximum(x0 + r0, x1 + r1),
        np.minimum(y0 - r0, y1 - r1),
        np.maximum(y0 + r0, y1 + r1),
        shown,
    )
    dx, dy = x1 - x0, y1 - y0
    length = np.maximum(dx * dx + dy * dy, 1e-6)
    px = canvas.columns[columns][None, None, :] - x0[:, None, None]
    py = canvas.rows[rows][None, :, None] - y0[:, None, None]
    along = px * (dx / length)[:, None, None] + py * (dy / length)[:, None, None]
    np.clip(along, 0, 1, out=along)
    px = px - along * dx[:, None, None]
    py = py - along * dy[:, None, None]
    radius = along * (r1 - r0)[:, None, None] + r0[:, None, None]
    across = px / radius
    px *= px
    py *= py
    px += py
    cover = np.subtract(radius, np.sqrt(px, out=px), out=px)
    cover += 0.5
    np.clip(cover, 0, 1, out=cover)
    cover *= shown[:, None, None]
    return Patch((rows, columns), cover, across, along)


def ellipse(canvas: Canvas, centre: Point, rx: Floats, ry: Floats, shown: NDArray[np.bool_]) -> Patch:
    """An upright ellipse with half axes `rx` and `ry` [N], in pixels; `along` runs from its top to its bottom."""
    x, y = centre
    rows, columns = canvas.window(x - rx, x + rx, y - ry, y + ry, shown)
    across = (canvas.columns[columns][None, None, :] - x[:, None, None]) / rx[:, None, None]
    down = (canvas.rows[rows][None, :, None] - y[:, None, None]) / ry[:, None, None]
    inside = 1 - np.sqrt(across * across + down * down)
    cover = (inside * np.minimum(rx, ry)[:, None, None] + 0.5).clip(0, 1) * shown[:, None, None]
    return Patch((rows, columns), cover, np.broadcast_to(across, cover.shape), (down + 1) / 2)


def box(canvas: Canvas, centre: Point, rx: Floats, ry: Floats, corner: Floats, shown: NDArray[np.bool_]) -> Patch:
    """An upright rectangle with half sides `rx` and `ry` and rounded corners of radius `corner` [N], in pixels."""
    x, y = centre
    rows, columns = canvas.window(x - rx, x + rx, y - ry, y + ry, shown)
    px = canvas.columns[columns][None, None, :] - x[:, None, None]
    py = canvas.rows[rows][None, :, None] - y[:, None, None]
    out_x = np.abs(px) - (rx - corner)[:, None, None]
    out_y = np.abs(py) - (ry - corner)[:, None, None]
    outside = np.sqrt(np.maximum(out_x, 0) ** 2 + np.maximum(out_y, 0) ** 2) + np.minimum(np.maximum(out_x, out_y), 0)
    cover = (corner[:, None, None] - outside + 0.5).clip(0, 1) * shown[:, None, None]
    across = np.broadcast_to(px / rx[:, None, None], cover.shape)
    return Patch((rows, columns), cover, across, (py / ry[:, None, None] + 1) / 2)


def tube(
    canvas: Canvas, axis: Floats, heights: Floats, widths: Floats, bulge: Floats, shown: NDArray[np.bool_]
) -> Patch:
    """An upright tube whose width changes from knot to knot (a torso, a skirt).

    Args:
        canvas: the pictures.
        axis: [N, K] columns of the axis at the knots, pixels.
        heights: [N, K] rows of the knots, rising, pixels.
        widths: [N, K] half widths at the knots, pixels.
        bulge: [N] how far the middle of the lower edge hangs below its ends (the camera looks down), pixels.
        shown: [N] pictures in which it is there.
    """
    top, bottom = heights[:, 0], heights[:, -1]
    reach = widths.max(axis=1)
    rows, columns = canvas.window(axis.min(axis=1) - reach, axis.max(axis=1) + reach, top, bottom + bulge, shown)
    y = canvas.rows[rows][None, :] - np.zeros_like(top)[:, None]
    width = np.repeat(widths[:, :1], y.shape[1], axis=1)
    centre = np.repeat(axis[:, :1], y.shape[1], axis=1)
    for k in range(heights.shape[1] - 1):
        step = np.maximum(heights[:, k + 1] - heights[:, k], 1e-3)
        share = ((y - heights[:, k : k + 1]) / step[:, None]).clip(0, 1)
        width += share * (widths[:, k + 1] - widths[:, k])[:, None]
        centre += share * (axis[:, k + 1] - axis[:, k])[:, None]
    offset = canvas.columns[columns][None, None, :] - centre[:, :, None]
    across = offset / width[:, :, None]
    cover = (width[:, :, None] - np.abs(offset) + 0.5).clip(0, 1)
    cover *= (y - top[:, None] + 0.5).clip(0, 1)[:, :, None]
    sag = bulge[:, None, None] * np.sqrt((1 - across * across).clip(0, 1))
    cover *= (sag - (y - bottom[:, None])[:, :, None] + 0.5).clip(0, 1)
    cover *= shown[:, None, None]
    along = (y - top[:, None]) / (bottom - top)[:, None]
    return Patch((rows, columns), cover, across, along[:, :, None])
