"""Cloth: what colour each point of a torso or a sleeve has, and how light falls on it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from passerby.data.synthetic.draws import Floats
from passerby.data.synthetic.person import Bag, People, Texture, Top
from passerby.data.synthetic.shapes import Patch


def surface_angle(across: Floats, yaw: Floats) -> Floats:
    """Angle around the body of each point of an upright shape: 0 in front, pi/2 on the person's left, +-pi at the back.

    Args:
        across: [N, h, w] from -1 to 1 between the outlines.
        yaw: [N] viewpoint.
    """
    angle: Floats = np.arcsin(across.clip(-1, 1)) - yaw[:, None, None]
    angle -= np.float32(2 * np.pi) * np.round(angle * np.float32(0.5 / np.pi))
    return angle


def shading(across: Floats, side_light: Floats, ambient: Floats) -> Floats:
    """[N, h, w] light on a round upright surface (Lambert's law plus ambient light).

    Args:
        across: [N, h, w] from -1 to 1 between the outlines.
        side_light: [N] direction of the light, -1 from the left, 1 from the right.
        ambient: [N] share of the light that comes from everywhere.
    """
    facing = across.clip(-1, 1)
    front = 1 - facing * facing
    np.sqrt(front, out=front)
    front *= (1 - 0.3 * np.abs(side_light))[:, None, None]
    facing *= (0.7 * side_light)[:, None, None]
    facing += front
    np.maximum(facing, 0, out=facing)
    facing *= (1.15 * (1 - ambient))[:, None, None]
    facing += ambient[:, None, None]
    return facing


def _edge(value: Floats, sharpness: float = 12.0) -> Floats:
    """0 where `value` is below zero, 1 above, with a soft step between."""
    return (value * sharpness + 0.5).clip(0, 1)


def _per_picture(column: NDArray[Any]) -> NDArray[Any]:
    return column[:, None, None]


def weave(people: People, angle: Floats, height: Floats) -> Floats:
    """[N, h, w] share of the accent colour in the upper garment's texture.

    Args:
        people: N people.
        angle: [N, h, w] surface angle.
        height: [N, h, 1] or [N, h, w] from 0 (neck) to 1 (hip).
    """
    kind = people.texture
    turns = _per_picture(people.pitch * np.float32(np.pi))
    hoops = _edge(np.sin(2 * turns * height), 1.2)
    bars = _edge(np.sin(turns * angle * np.float32(0.8)), 1.0)
    checked = 0.5 * (hoops + bars)
    block = _edge(0.42 - height)
    share = np.where(_per_picture(kind == Texture.HOOPS), hoops, 0)
    share = np.where(_per_picture(kind == Texture.PINSTRIPES), 0.75 * bars, share)
    share = np.where(_per_picture(kind == Texture.CHECKS), checked, share)
    return np.where(_per_picture(kind == Texture.BLOCK), block, share).astype(np.float32)


def torso_colour(people: People, patch: Patch, angle: Floats, height: Floats) -> Floats:
    """[N, 3, h, w] colours of the upper garment, its print, an open jacket's shirt, and the straps of a backpack.

    Args:
        people: N people.
        patch: the torso.
        angle: [N, h, w] surface angle.
        height: [N, h, 1] body heights below the top of the head.
    """
    colour = np.repeat(people.top[:, :, None, None], angle.shape[1], axis=2) * np.ones_like(angle)[:, None]

    def blend(share: Floats, other: Floats) -> None:
        colour.__iadd__(share[:, None] * (other[:, :, None, None] - colour))

    front = np.abs(angle)
    worn = np.flatnonzero(people.texture != Texture.PLAIN)
    if worn.size:
        some = people.take(worn)
        share = weave(some, angle[worn], (height[worn] - 0.16) / 0.36)
        colour[worn] += share[:, None] * (some.accent - some.top)[:, :, None, None]
    half_angle, half_height = people.print_size[:, 0], people.print_size[:, 1]
    if half_angle.any():
        both = np.where(_per_picture(people.back_print == 1), np.minimum(front, np.float32(np.pi) - front), front)
        beside = both / _per_picture(np.maximum(half_angle, 1e-3))
        above = (height - 0.28) / _per_picture(np.maximum(half_height, 1e-3))
        blend(_edge(1 - np.maximum(beside, np.abs(above)), 4.0) * _per_picture(half_angle > 0), people.accent)
    jacket = people.top_kind == Top.JACKET
    if jacket.any():
        opening = 0.30 + 0.55 * (0.26 - height).clip(0, 1) / 0.1 + 0.25 * (height - 0.42).clip(0, 1)
        blend(_edge(opening - front, 5.0) * _per_picture(jacket), people.inner)
    zipped = np.isin(people.top_kind, (Top.COAT, Top.HOODIE, Top.SHIRT))
    seam = 0.35 * _edge(0.10 - front, 8.0) * _per_picture(zipped & (half_angle == 0))
    neckline = _edge(0.185 + 0.02 * np.cos(angle) - height, 60.0) * _per_picture(
        np.isin(people.top_kind, (Top.TANK, Top.DRESS, Top.TSHIRT))
    )
    blend(seam, people.top * np.float32(0.45))
    blend(neckline * _edge(1.2 - front, 3.0), people.skin)
    strapped = people.bag_kind == Bag.BACKPACK
    if strapped.any():
        strap = _edge(0.16 - np.abs(front - 0.75), 6.0) * _edge(0.36 - height, 40.0) * _per_picture(strapped)
        blend(strap, people.bag * np.float32(0.8))
    return colour


def folds(phase: Floats, angle: Floats, height: Floats) -> Floats:
    """[N, h, w] factor for the creases of cloth, which change from picture to picture with `phase` [N]."""
    upward = np.sin(angle * 3 + height * 45 + _per_picture(phase * 3))
    downward = np.sin(height * 90 - angle * 2 + _per_picture(phase * 7))
    crease: Floats = 1 + 0.045 * (upward + downward)
    return crease


def sleeve_colour(people: People, along: Floats, start: float, height: float) -> Floats:
    """[N, 3, h, w] colours of half an arm: cloth down to the sleeve's end, skin below it.

    Args:
        people: N people.
        along: [N, h, w] from 0 to 1 down this half.
        start: where this half begins on the arm, 0 (shoulder) or 0.5 (elbow).
        height: of that half's upper end below the neck, over the torso's length.
    """
    covered = _edge(_per_picture(people.sleeve) - (start + along * 0.5), 14.0)
    colour = people.skin[:, :, None, None] + covered[:, None] * (people.top - people.skin)[:, :, None, None]
    worn = np.flatnonzero(people.texture != Texture.PLAIN)
    if worn.size:
        some, down = people.take(worn), along[worn]
        share = covered[worn] * weave(some, np.zeros_like(down), height + down * 0.45)
        colour[worn] += share[:, None] * (some.accent - some.top)[:, :, None, None]
    return colour
