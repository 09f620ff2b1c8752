"""Heads: neck, face, hair and hat. Hair and hat are regions of the head's surface, so they turn with the viewpoint."""

import numpy as np
from numpy.typing import NDArray

from passerby.data.synthetic.draws import Floats
from passerby.data.synthetic.garment import shading, surface_angle
from passerby.data.synthetic.person import Hair, Hat, People, Top
from passerby.data.synthetic.pose import Body
from passerby.data.synthetic.shapes import Canvas, box, ellipse, everywhere, limb

# Height on the head (-1 crown, 1 chin) down to which hair reaches beside and behind the face, by Hair.
_NAPE = np.array([-2.0, 0.35, 0.95, 1.5, 0.75, 0.6], np.float32)
# Height down to which a hat covers the head, by Hat.
_BRIM = np.array([-2.0, -0.28, -0.22], np.float32)


def draw_head(canvas: Canvas, people: People, body: Body, side_light: Floats, ambient: Floats) -> None:
    """Paints neck, hood, long hair, head and the peak of a cap.

    Args:
        canvas: N pictures.
        people: N people.
        body: their projection.
        side_light: [N] direction of the light.
        ambient: [N] share of light from everywhere.
    """
    scale, count = body.scale, len(people)
    away = body.cos < 0
    long = people.hair_kind == Hair.LONG
    hooded = people.top_kind == Top.HOODIE

    def light(across: Floats) -> Floats:
        return shading(across, side_light, ambient)

    fall = box(canvas, body.place(0.0, 0.135, -0.022), body.width(0.052, 0.040), 0.085 * scale, 0.035 * scale, long)
    canvas.paint(fall, people.hair, light(fall.across * 0.8))
    nape = np.where((long & away)[:, None], people.hair, people.skin * np.float32(0.86))
    neck = limb(
        canvas,
        body.place(0.0, 0.10, -0.008),
        body.place(0.0, 0.165, -0.008),
        0.027 * scale,
        0.031 * scale,
        everywhere(count),
    )
    canvas.paint(neck, nape, light(neck.across))
    hood = ellipse(canvas, body.place(0.0, 0.172, -0.045), body.width(0.062, 0.036), 0.030 * scale, hooded)
    canvas.paint(hood, people.top * np.float32(0.85), light(hood.across))

    volume = np.where(people.hair_kind >= Hair.MEDIUM, 1.08, 1.0).astype(np.float32)
    skull = ellipse(
        canvas, body.place(0.0, 0.068, 0.0), body.width(0.048, 0.057) * volume, 0.069 * scale, everywhere(count)
    )
    down = skull.along * 2 - 1
    # Across the head at this height, not across its widest part: the surface is a ball.
    ball = skull.across / np.sqrt((1 - down * down).clip(0.05, 1))
    angle = surface_angle(ball, body.yaw)
    beside = np.abs(angle)
    colour = people.skin[:, :, None, None] * (1 - 0.45 * _eyes(angle, down))[:, None]
    nape_line, brim_line = _NAPE[people.hair_kind][:, None, None], _BRIM[people.hat_kind][:, None, None]
    temple = np.where(people.hair_kind >= Hair.MEDIUM, 0.85, 1.15).astype(np.float32)[:, None, None]
    fringe = (-0.42 - down) * 7
    sides = np.minimum((beside - temple) * 3, (nape_line - down) * 7)
    hair = (np.maximum(fringe, sides) + 0.5).clip(0, 1) * (people.hair_kind != Hair.BALD)[:, None, None]
    colour += hair[:, None] * (people.hair[:, :, None, None] - colour)
    covered = ((brim_line - down) * 7 + 0.5).clip(0, 1)
    colour += covered[:, None] * (people.hat[:, :, None, None] - colour)
    canvas.paint(skull, colour, light(skull.across) * (1.08 - 0.16 * skull.along))

    cap = people.hat_kind == Hat.CAP
    peak = limb(
        canvas, body.place(0.0, 0.050, 0.035), body.place(0.0, 0.058, 0.088), 0.012 * scale, 0.009 * scale, cap & ~away
    )
    canvas.paint(peak, people.hat * np.float32(0.8))


def _eyes(angle: Floats, down: Floats) -> Floats:
    """[N, h, w] darkness of the eyes and, fainter, the mouth."""
    eyes = (1 - np.abs(np.abs(angle) - 0.42) * 5).clip(0, 1) * (1 - np.abs(down - 0.02) * 6).clip(0, 1)
    mouth = (1 - np.abs(angle) * 2.2).clip(0, 1) * (1 - np.abs(down - 0.58) * 8).clip(0, 1)
    darkness: Floats = eyes + 0.5 * mouth
    return darkness


def draw_tail(canvas: Canvas, people: People, body: Body, ambient: Floats, shown: NDArray[np.bool_]) -> None:
    """Paints a ponytail or a bun behind the head, in the pictures where it is `shown` [N]."""
    scale = body.scale
    still = np.zeros_like(ambient)
    tail = people.hair_kind == Hair.PONYTAIL
    rod = limb(
        canvas,
        body.place(0.0, 0.055, -0.062),
        body.place(0.0, 0.175, -0.072),
        0.020 * scale,
        0.012 * scale,
        tail & shown,
    )
    canvas.paint(rod, people.hair, shading(rod.across, still, ambient))
    bun = people.hair_kind == Hair.BUN
    knot = ellipse(canvas, body.place(0.0, 0.030, -0.058), 0.027 * scale, 0.026 * scale, bun & shown)
    canvas.paint(knot, people.hair, shading(knot.across, still, ambient))
