"""The contact sheet: of each shot people of one frame, and of another two seconds later."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from passerby.data.video.shards import open_shards
from passerby.data.video.sheet import contact_sheet


def test_a_row_shows_people_of_two_moments(film_folder: Callable[..., Path]) -> None:
    shards = open_shards(film_folder("sheet", shots=2, frames=9, people=3, seconds=0.5))
    sheet = contact_sheet(shards, columns=3)
    assert sheet.size == (2 * 3 * 68 + 16, 2 * 146)
    pixels = np.asarray(sheet)
    for row, shot in enumerate(shards.read(n) for n in range(2)):
        # Frames 4 and 8 are those at 2 and at 4 seconds.
        for left, frame in ((0, 4), (3 * 68 + 16, 8)):
            for person in range(3):
                stored = shot[3 * frame + person]
                expected = np.asarray(Image.open(BytesIO(stored.jpeg)).convert("RGB").resize((64, 128)))
                x, y = left + 68 * person, 146 * row + 14
                assert np.array_equal(pixels[y : y + 128, x : x + 64], expected)
