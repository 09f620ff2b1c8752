import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from passerby.report.thumbnails import Thumbnail, thumbnail


def decode(shown: Thumbnail) -> Image.Image:
    assert shown.uri is not None
    kind, _, data = shown.uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 128), (64, 128)), ((128, 256), (64, 128)), ((20, 40), (20, 40)), ((200, 100), (64, 32))],
)
def test_it_fits_and_keeps_proportions(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    assert decode(thumbnail(tmp_path / "a.png")).size == expected


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_any_mode_of_an_image_becomes_a_jpeg(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tif"
    Image.new("RGB", (16, 32), (255, 255, 255)).convert(mode).save(path)
    assert np.asarray(decode(thumbnail(path))).min() > 250


def test_colours_stay(tmp_path: Path) -> None:
    Image.new("RGB", (64, 128), (200, 30, 60)).save(tmp_path / "a.png")
    pixels = np.asarray(decode(thumbnail(tmp_path / "a.png"))).reshape(-1, 3).mean(0)
    np.testing.assert_allclose(pixels, (200, 30, 60), atol=4)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 40, 3), np.uint8)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    assert thumbnail(tmp_path / "none.jpg") == Thumbnail(None, "no such image file")
    assert "empty" in thumbnail(tmp_path / "empty.jpg").reason
    assert "no image format" in thumbnail(tmp_path / "text.jpg").reason
    cut = thumbnail(tmp_path / "cut.jpg")
    assert cut.uri is None
    assert "truncated" in cut.reason
