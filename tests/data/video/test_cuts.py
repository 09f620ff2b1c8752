"""Cuts: where the cameras of a street change, and nowhere else."""

from pathlib import Path

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
