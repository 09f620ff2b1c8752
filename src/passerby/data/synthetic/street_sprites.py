"""The people of street frames, drawn together: those of about the same height on sheets of the same size."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from passerby.data.synthetic.draw import Light, draw_people
from passerby.data.synthetic.draws import Floats, Ints
from passerby.data.synthetic.person import People
from passerby.data.synthetic.pose import Poses
from passerby.data.synthetic.street_walks import Moment

_TOGETHER = 64
"""People drawn at once: enough to keep numpy busy, few enough to stay in the processor's cache."""

_STEP = 32
"""A sheet has a multiple of so many rows."""

Window = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Sprite:
    """A person as a frame shows it.

    Attributes:
        person: who.
        window: the part of the frame that it lies in; may be empty.
        light: [3, h, w] premultiplied by `cover`.
        cover: [h, w] share of each pixel that the person, or the shadow on the ground, covers.
        body: [h, w] pixels of the body.
        pixels: of the body, those outside of the frame too.
    """

    person: int
    window: Window
    light: Floats
    cover: Floats
    body: NDArray[np.bool_]
    pixels: int


def draw_sprites(moments: Sequence[Moment], people: People, light: Light, size: tuple[int, int]) -> list[list[Sprite]]:
    """Draws the people of some moments.

    Args:
        moments: who is where.
        people: all people of the film.
        light: of one picture.
        size: height and width of the frame, pixels.

    Returns:
        one list a moment, in the order of its people.
    """
    together = Moment(*(np.concatenate([getattr(m, f.name) for m in moments]) for f in fields(Moment)))
    rows = _STEP * np.ceil(1.3 * together.scale / _STEP).astype(np.int64)
    drawn: dict[int, Sprite] = {}
    for height in np.unique(rows):
        alike = np.flatnonzero(rows == height)
        for start in range(0, len(alike), _TOGETHER):
            some = alike[start : start + _TOGETHER]
            drawn |= zip(some.tolist(), _draw_alike(together, some, people, light, int(height), size), strict=True)
    numbers = iter(range(len(rows)))
    return [[drawn[next(numbers)] for _ in m.person] for m in moments]


def _draw_alike(
    moment: Moment, some: Ints, people: People, light: Light, rows: int, size: tuple[int, int]
) -> list[Sprite]:
    """People drawn on sheets of `rows` rows."""
    columns = int(0.8 * rows)
    # Sheets lie on whole pixels of the frame; what is left of a place goes into the pose.
    left = np.floor(moment.column[some] - columns / 2).astype(np.int64)
    top = np.floor(moment.row[some] - 0.9 * rows).astype(np.int64)
    poses = Poses(
        yaw=moment.yaw[some],
        phase=moment.phase[some],
        stride=moment.stride[some],
        tilt=moment.tilt[some],
        centre=((moment.column[some] - left) / columns).astype(np.float32),
        top=((moment.row[some] - top - moment.scale[some]) / rows).astype(np.float32),
        height=(moment.scale[some] / rows).astype(np.float32),
    )
    sheet = draw_people(people.take(moment.person[some]), poses, light.take(np.zeros_like(some)), (rows, columns))
    # The shadow on the ground covers, but gives no light.
    body = (sheet.alpha > 0.5) & (sheet.rgb.max(axis=1) > 0.008)
    sprites = []
    for k, (x, y) in enumerate(zip(left.tolist(), top.tolist(), strict=True)):
        inside = _overlap(y, rows, size[0]), _overlap(x, columns, size[1])
        window = slice(y + inside[0].start, y + inside[0].stop), slice(x + inside[1].start, x + inside[1].stop)
        cut = (sheet.rgb[k][:, *inside], sheet.alpha[k][inside], body[k][inside])
        sprites.append(Sprite(int(moment.person[some[k]]), window, *cut, int(body[k].sum())))
    return sprites


def _overlap(begin: int, length: int, limit: int) -> slice:
    """The part of [0, length) that lies within [0, limit) when it is moved by `begin`."""
    first = min(max(0, -begin), length)
    return slice(first, max(first, min(length, limit - begin)))
