"""The cache of decoded images."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from passerby.data.cache import cache_folder, open_cache
from passerby.data.images import Preprocessing
from passerby.errors import PasserbyError

SMALL = Preprocessing(height=16, width=8)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Six PNGs of random pixels."""
    found = [tmp_path / "images" / f"{k}.png" for k in range(6)]
    found[0].parent.mkdir()
    for k, path in enumerate(found):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (30, 17, 3), dtype=np.uint8)).save(path)
    return found


def bins(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_holds_every_image_in_the_order_of_the_paths(paths: list[Path], tmp_path: Path) -> None:
    for order in (paths, paths[::-1]):
        cache = open_cache("set", order, SMALL, tmp_path / "cache")
        np.testing.assert_array_equal(cache.images, np.stack([SMALL.read(path) for path in order]))
        assert cache.bad == {}
        assert isinstance(cache.images, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            cache.images[0, 0, 0, 0] = 1


def test_more_images_than_a_chunk_stay_in_order(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("passerby.data.cache.CHUNK", 2)
    cache = open_cache("set", paths[:5], SMALL, tmp_path / "cache")
    np.testing.assert_array_equal(cache.images, SMALL.read_many(paths[:5]))


def test_is_reused(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_cache("set", paths, SMALL, tmp_path / "cache")
    before = bins(tmp_path / "cache")

    def never(self: Preprocessing, path: Path) -> None:
        raise AssertionError(f"{path} decoded again")

    monkeypatch.setattr(Preprocessing, "read", never)
    again = open_cache("set", paths, SMALL, tmp_path / "cache")
    assert bins(tmp_path / "cache") == before
    np.testing.assert_array_equal(first.images, again.images)


def test_a_changed_file_is_decoded_anew(paths: list[Path], tmp_path: Path) -> None:
    open_cache("set", paths, SMALL, tmp_path / "cache")
    Image.new("RGB", (17, 30), (1, 2, 3)).save(paths[2])
    assert open_cache("set", paths, SMALL, tmp_path / "cache").images[2, 0, 0].tolist() == [1, 2, 3]


def test_a_file_of_the_same_length_and_another_time_is_decoded_anew(paths: list[Path], tmp_path: Path) -> None:
    bitmap = paths[0].with_suffix(".bmp")
    for level in (10, 200):
        Image.new("RGB", (8, 16), (level, level, level)).save(bitmap)
        os.utime(bitmap, (level, level))
        assert open_cache("set", [bitmap], SMALL, tmp_path / "cache").images[0, 0, 0, 0] == level


def test_sizes_and_names_do_not_share_a_cache(paths: list[Path], tmp_path: Path) -> None:
    open_cache("set", paths, SMALL, tmp_path / "cache")
    other = open_cache("set", paths, Preprocessing(height=8, width=16), tmp_path / "cache")
    assert other.images.shape == (6, 8, 16, 3)
    open_cache("set/c1", paths, SMALL, tmp_path / "cache")
    assert len([name for name in bins(tmp_path / "cache") if name.endswith(".bin")]) == 3


def test_a_shortened_cache_is_rebuilt(paths: list[Path], tmp_path: Path) -> None:
    first = np.array(open_cache("set", paths, SMALL, tmp_path / "cache").images)
    data = next((tmp_path / "cache").glob("*.bin"))
    data.write_bytes(data.read_bytes()[:-1])
    np.testing.assert_array_equal(open_cache("set", paths, SMALL, tmp_path / "cache").images, first)


def test_unreadable_images_are_listed_by_row_and_hold_zeros(paths: list[Path], tmp_path: Path) -> None:
    paths[1].write_bytes(b"")
    paths[3].write_text("text")
    paths[4].write_bytes(paths[4].read_bytes()[:200])
    paths[5].unlink()
    for _ in range(2):  # decoded, then read from the listing
        cache = open_cache("set", paths, SMALL, tmp_path / "cache")
        assert list(cache.bad) == [1, 3, 4, 5]
        assert all(str(paths[row]) in reason for row, reason in cache.bad.items())
        assert not cache.images[[1, 3, 4, 5]].any()
        np.testing.assert_array_equal(cache.images[0], SMALL.read(paths[0]))


def test_nothing_readable_is_an_error(paths: list[Path], tmp_path: Path) -> None:
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(PasserbyError, match=r"set: none of its 6 images can be read; the first: .*0\.png.*empty"):
        open_cache("set", paths, SMALL, tmp_path / "cache")


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_is_one_clear_error_and_leaves_no_half_file(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("passerby.files.os.fsync", full)
        with pytest.raises(PasserbyError, match=r"cannot be written \(.*No space left.*PASSERBY_CACHE") as error:
            open_cache("set", paths, SMALL, tmp_path / "cache")
    assert "\n" not in str(error.value)
    assert not [name for name in bins(tmp_path / "cache") if name.endswith((".tmp", ".json"))]
    np.testing.assert_array_equal(open_cache("set", paths, SMALL, tmp_path / "cache").images, SMALL.read_many(paths))


def test_lives_where_the_environment_says(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSERBY_CACHE", str(tmp_path / "mine"))
    open_cache("set", paths, SMALL)
    assert len(bins(tmp_path / "mine")) == 2
    monkeypatch.delenv("PASSERBY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "passerby"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "passerby"
