"""A contact sheet of shards: whom an ingest found, for people to look at. It shows real people; keep it beside the shards."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

from passerby.data.video.shards import Shards

_HEIGHT, _WIDTH, _GAP, _TITLE = 128, 64, 4, 14
_LATER = 2.0
"""Seconds between the two frames of a row."""


def contact_sheet(shards: Shards, rows: int = 12, columns: int = 7) -> Image.Image:
    """One row a shot: some people of one frame on the left, of a frame two seconds later on the right.

    Args:
        shards: a set of shards.
        rows: shots, spread evenly over the set.
        columns: people of each frame.
    """
    chosen = np.unique(np.linspace(0, len(shards.shots) - 1, rows).round().astype(int))
    half = columns * (_WIDTH + _GAP)
    row_height = _TITLE + _HEIGHT + _GAP
    sheet = Image.new("RGB", (2 * half + 4 * _GAP, len(chosen) * row_height), "white")
    pen = ImageDraw.Draw(sheet)
    for row, number in enumerate(int(n) for n in chosen):
        key, frames = shards.shots[number], shards.frames(number)
        times = np.array(frames.times)
        first = len(times) // 2 if len(times) > 2 else 0
        second = int(np.abs(times - times[first] - _LATER).argmin())
        title = f"{key.film.name}, shot {key.shot.number}: {key.shot.frames} frames, {key.shot.crops} crops; "
        pen.text((2, row * row_height), f"{title}{times[first]:.1f} s and {times[second]:.1f} s", fill="black")
        for side, frame in enumerate((first, second)):
            for k, stored in enumerate(shards.read(number, [frame])[:columns]):
                picture = Image.open(BytesIO(stored.jpeg)).convert("RGB").resize((_WIDTH, _HEIGHT))
                x = side * (half + 4 * _GAP) + k * (_WIDTH + _GAP)
                sheet.paste(picture, (x, row * row_height + _TITLE))
    return sheet
