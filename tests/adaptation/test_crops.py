"""Crops of a place: what is read, in which order, and what is passed over."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from passerby.adaptation import crops
from passerby.adaptation.crops import crops_at, read_crops
from passerby.data.images import Preprocessing
from passerby.errors import PasserbyError

SMALL = Preprocessing(height=32, width=16)


def write(folder: Path, count: int, broken: tuple[int, ...] = ()) -> list[Path]:
    paths = []
    for k in range(count):
        path = folder / f"{(7 * k) % 100:02d}.png"  # not in the order of the names
        Image.fromarray(np.full((40, 20, 3), 5 * k, np.uint8)).save(path)
        if k in broken:
            path.write_bytes(path.read_bytes()[:40])
        paths.append(path)
    return paths


@pytest.fixture(params=["in memory", "in a file"])
def _place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few images at a time, in memory or in a file."""
    monkeypatch.setattr(crops, "_READ", 4)
    if request.param == "in a file":
        monkeypatch.setattr(crops, "_IN_MEMORY_BYTES", 100)


@pytest.mark.usefixtures("_place")
def test_every_image_in_the_order_of_the_paths(tmp_path: Path) -> None:
    paths = write(tmp_path, 11)
    pixels, read = read_crops(paths, SMALL)
    assert pixels.shape == (11, 32, 16, 3)
    assert pixels.dtype == np.uint8
    assert read == list(range(11))
    assert np.array_equal(pixels, SMALL.read_many(paths))
    assert [int(image[0, 0, 0]) for image in pixels] == [5 * k for k in range(11)]


@pytest.mark.usefixtures("_place")
@pytest.mark.parametrize("broken", [(0,), (5, 6), (10,), (1, 4, 9), (4, 5, 6, 7)])
def test_what_cannot_be_read_is_told_and_left_out(tmp_path: Path, broken: tuple[int, ...]) -> None:
    paths = write(tmp_path, 11, broken)
    told: list[PasserbyError] = []
    pixels, read = read_crops(paths, SMALL, told.append)
    assert read == [k for k in range(11) if k not in broken]
    assert [int(image[0, 0, 0]) for image in pixels] == [5 * k for k in read]
    assert len(told) == len(broken)
    for k, error in zip(broken, told, strict=True):
        assert str(error).startswith(f"{paths[k]}: cannot be read")


@pytest.mark.usefixtures("_place")
def test_without_skip_the_first_is_an_error(tmp_path: Path) -> None:
    paths = write(tmp_path, 7, (6,))
    with pytest.raises(PasserbyError, match=paths[6].name):
        read_crops(paths, SMALL)


def test_nothing_to_read_and_nothing_that_can_be_read(tmp_path: Path) -> None:
    told: list[PasserbyError] = []
    for paths in ([], write(tmp_path, 3, (0, 1, 2)), [tmp_path / "missing.png"]):
        pixels, read = read_crops(paths, SMALL, told.append)
        assert pixels.shape == (0, 32, 16, 3)
        assert read == []
    assert len(told) == 4


def test_many_images_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write(tmp_path, 3)
    assert not isinstance(read_crops(paths, SMALL)[0], np.memmap)
    monkeypatch.setattr(crops, "_IN_MEMORY_BYTES", 3 * 32 * 16 * 3)
    assert not isinstance(read_crops(paths, SMALL)[0], np.memmap)
    monkeypatch.setattr(crops, "_IN_MEMORY_BYTES", 3 * 32 * 16 * 3 - 1)
    assert isinstance(read_crops(paths, SMALL)[0], np.memmap)


def test_a_full_disk_is_told_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(crops, "_IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(PasserbyError, match=r"no room for 0 MiB of pixels \(No space left on device\)"):
        read_crops(write(tmp_path, 2), SMALL)


@pytest.mark.usefixtures("_place")
@pytest.mark.parametrize("rows", [[10, 0, 3], [3, 3, 3, 3, 3], list(range(11)), [*range(10, -1, -1), 4, 4, 9], [7]])
def test_some_of_the_images_in_the_order_of_the_rows(tmp_path: Path, rows: list[int]) -> None:
    pixels, _ = read_crops(write(tmp_path, 11), SMALL)
    chosen = crops_at(pixels, rows)
    assert chosen.shape == (len(rows), 32, 16, 3)
    assert chosen.dtype == np.uint8
    assert np.array_equal(chosen, np.stack([pixels[row] for row in rows]))
    chosen[:] = 0
    assert [int(image[0, 0, 0]) for image in pixels] == [5 * k for k in range(11)]


def test_some_that_are_many_lie_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 2, 3), dtype=np.uint8)
    monkeypatch.setattr(crops, "_IN_MEMORY_BYTES", 4 * 24)
    assert not isinstance(crops_at(pixels, [0, 1, 2, 0]), np.memmap)
    found = crops_at(pixels, [2, 1, 0, 2, 2])
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, pixels[[2, 1, 0, 2, 2]])
    # None are none, in memory.
    monkeypatch.setattr(crops, "_IN_MEMORY_BYTES", 0)
    assert crops_at(pixels, []).shape == (0, 4, 2, 3)
