"""Cuts: where the cameras of a street change, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest

from passerby.data.video.cuts import CutDetector
from passerby.data.video.frames import FilmReader


@pytest.mark.parametrize("start", [0, 17])
def test_a_cut_is_where_the_camera_changes(street: Path, start: int) -> None:
    cuts = CutDetector()
    found = [
        frame.position.number
        for frame in FilmReader(street / "film.mp4").frames()
        if frame.position.number >= start and cuts.is_cut(frame.small())
    ]
    assert found == [40]


def test_the_threshold_decides(street: Path) -> None:
    cuts = CutDetector(threshold=250.0)
    assert not any(cuts.is_cut(frame.small()) for frame in FilmReader(street / "film.mp4").frames())


def test_a_picture_of_another_size_begins_a_shot() -> None:
    small, wide = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 40, 3), np.uint8)
    cuts = CutDetector()
    assert [cuts.is_cut(picture) for picture in (small, small, wide, wide, 255 - wide, small)] == [
        False,
        False,
        True,
        False,
        True,
        True,
    ]
