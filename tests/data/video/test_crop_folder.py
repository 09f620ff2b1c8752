"""Ready-made crops: instants of joined frames, stretches by time, tracks that are not given away."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from passerby.data.video.crop_folder import list_crops, read_instant, stretches
from passerby.errors import PasserbyError


def crop(folder: Path, name: str, colour: int = 0) -> None:
    Image.new("RGB", (8, 16), (colour, colour, colour)).save(folder / name)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(1, 20), st.floats(0.5, 20))
def test_instants_and_stretches(frames: list[int], join: int, seconds: float) -> None:
    crops = sorted((frame, track, Path()) for track, frame in enumerate(frames))
    parts = stretches(crops, 25.0, join, seconds)
    assert [c for part in parts for instant in part for c in instant] == crops
    for part in parts:
        times = [instant[0][0] // join * join / 25 for instant in part]
        assert times[-1] - times[0] < seconds
        assert times == sorted(set(times))
        assert all(len({c[0] // join for c in instant}) == 1 for instant in part)


def test_an_instant_takes_a_track_once(tmp_path: Path) -> None:
    for name, colour in (("5_18.jpg", 10), ("5_20.jpg", 20), ("6_26.jpg", 30), ("7_28.jpg", 40), ("8_19.png", 50)):
        crop(tmp_path, name, colour)
    (tmp_path / "9_21.jpg").write_bytes(b"no picture")
    (tmp_path / "readme.txt").write_text("")
    found, misfits = list_crops(tmp_path)
    assert misfits == 1
    counts: Counter[str] = Counter()
    (part,) = stretches(found, 25.0, 9, 60.0)
    first, second = (read_instant(group, 25.0, 9, 80, 90, counts) for group in part)
    assert (first.frame, first.time) == (18, 0.72)
    assert {p.identity for p in first.people} == {5, 6, 8}
    assert [p.identity for p in second.people] == [7]
    assert (second.frame, second.time) == (27, 1.08)  # of the instant, not of its first crop
    assert counts == Counter(doubles=1, unreadable=1, frames=6)
    taken = {p.identity: p.jpeg for p in first.people}
    assert taken[5] == (tmp_path / "5_18.jpg").read_bytes()  # as it was
    assert taken[8][:2] == b"\xff\xd8"  # made a JPEG
    crowded = read_instant(part[0], 25.0, 9, 2, 90, Counter())
    assert crowded.crowded
    assert len(crowded.people) == 2


def test_the_order_of_an_instant_does_not_give_the_tracks_away(tmp_path: Path) -> None:
    for track in range(8):
        crop(tmp_path, f"{track}_1.jpg", 30 * track)
    found, _ = list_crops(tmp_path)
    order = [p.identity or 0 for p in read_instant(found, 25.0, 1, 80, 90, Counter()).people]
    assert sorted(order) == list(range(8))
    assert order != list(range(8))


def test_a_folder_without_crops_is_refused(tmp_path: Path) -> None:
    crop(tmp_path, "person.jpg")
    with pytest.raises(PasserbyError, match=r"no crops named TRACK_FRAME\.jpg"):
        list_crops(tmp_path)


def test_a_track_that_no_machine_counts_is_refused(tmp_path: Path) -> None:
    crop(tmp_path, f"{2**63 - 1}_1.jpg")
    assert list_crops(tmp_path)[0][0][1] == 2**63 - 1
    crop(tmp_path, f"{2**63}_1.jpg")
    with pytest.raises(PasserbyError, match=rf"{2**63}_1\.jpg: too large for the number of a track"):
        list_crops(tmp_path)
    (tmp_path / f"{2**63}_1.jpg").rename(tmp_path / f"1_{2**63}.jpg")
    with pytest.raises(PasserbyError, match=rf"1_{2**63}\.jpg: too large for the number of a frame"):
        list_crops(tmp_path)
