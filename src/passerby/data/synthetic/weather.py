"""What comes between the camera and the person: rain, snow, poles and barriers."""

import numpy as np

from passerby.data.synthetic.domain import Domain
from passerby.data.synthetic.draws import Draws, Floats
from passerby.data.synthetic.shapes import Canvas, box, limb

_SHEETS = 8


def draw_weather(domain: Domain, size: tuple[int, int], seed: int) -> Floats:
    """[8, H, W] sheets of falling rain and snow, the share of each pixel that they cover."""
    rng = np.random.default_rng([seed, 0x9A1])
    height, width = size
    unit = height / 128
    canvas = Canvas(_SHEETS, size)

    def drops(count: int, length: tuple[float, float], radius: tuple[float, float]) -> None:
        for _ in range(count):
            x, y = rng.uniform(0, width, _SHEETS).astype(np.float32), rng.uniform(0, height, _SHEETS).astype(np.float32)
            long = (rng.uniform(*length, _SHEETS) * unit).astype(np.float32)
            r = (rng.uniform(*radius, _SHEETS) * unit).astype(np.float32)
            patch = limb(canvas, (x, y), (x + 0.12 * long, y + long), r, r, np.ones(_SHEETS, np.bool_))
            canvas.alpha[:, *patch.window] = np.maximum(canvas.alpha[:, *patch.window], patch.cover)

    drops(round(60 * domain.rain), (6.0, 18.0), (0.05, 0.35))
    drops(round(70 * domain.snow), (0.0, 1.5), (0.2, 1.3))
    opacity = min(1.0, 0.35 * domain.rain + 0.9 * domain.snow)
    return canvas.alpha * opacity


def draw_obstacle(canvas: Canvas, probability: float, draws: Draws) -> None:
    """Paints a pole, a barrier or something parked before some of the people.

    Args:
        canvas: N pictures with people.
        probability: that a picture has one.
        draws: of the N pictures.
    """
    height, width = np.float32(len(canvas.rows)), np.float32(len(canvas.columns))
    there, kind = draws.chance(probability), draws.choice([1.0, 1.0, 1.0])
    colour = np.stack([draws.uniform(0.1, 0.7)] * 3, axis=1) * np.stack(
        [draws.uniform(0.8, 1.1) for _ in range(3)], axis=1
    )
    x = draws.uniform(0.05, 0.95) * width
    low = draws.uniform(0.68, 0.88) * height
    thick = draws.uniform(0.02, 0.07) * width
    if not there.any():
        return
    zero = np.zeros_like(x)
    pole = limb(canvas, (x, zero - 9), (x, zero + height + 9), thick, thick, there & (kind == 0))
    canvas.paint(pole, colour, 1.1 - 0.5 * np.abs(pole.across))
    rail = limb(
        canvas, (zero - 9, low), (zero + width + 9, low + 0.02 * height), thick * 0.6, thick * 0.6, there & (kind == 1)
    )
    canvas.paint(rail, colour)
    post = limb(canvas, (x, low), (x, zero + height + 9), thick * 0.7, thick * 0.7, there & (kind == 1))
    canvas.paint(post, colour * np.float32(0.8))
    half = 0.35 * width + thick
    parked = box(canvas, (x, zero + height), half, height - low, 0.12 * height + zero, there & (kind == 2))
    canvas.paint(parked, colour, 1.15 - 0.5 * parked.along)
