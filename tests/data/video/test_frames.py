"""Frames: the right picture at the right time, from the start or from the middle, of whole and of broken films."""

import itertools
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from passerby.data.video.frames import Clock, FilmFrame, FilmReader, Position
from passerby.data.video.pictures import PictureReader
from passerby.errors import PasserbyError

MakeFilm = Callable[..., Path]


def level(image: np.ndarray) -> int:
    """Which frame of a film of `make_film` a picture is, modulo 25."""
    return round((float(image.mean()) - 20) / 8)


def test_every_frame_comes_once_with_its_time(make_film: MakeFilm) -> None:
    assert FilmReader(make_film("film.mkv")).total == 25  # from its length: it does not count its frames
    reader = FilmReader(make_film())
    frames = [(f.position.number, f.position.time, level(f.image())) for f in reader.frames()]
    assert frames == [(n, pytest.approx(0.04 * n), n) for n in range(25)]
    assert reader.total == 25
    assert not reader.counts


def test_pictures_are_red_green_blue_and_small_ones_the_other_way_round(make_film: MakeFilm) -> None:
    import av

    picture = av.VideoFrame.from_ndarray(np.full((48, 96, 3), (200, 100, 30), np.uint8), format="rgb24")
    frame = FilmFrame(Position(0, 0), False, 0, picture)
    assert np.abs(frame.image().reshape(-1, 3).mean(0) - (200, 100, 30)).max() < 3
    assert frame.small().shape == (128, 256, 3)
    assert np.abs(frame.small().reshape(-1, 3).mean(0) - (30, 100, 200)).max() < 3


def test_a_film_taken_on_its_side_is_turned_upright() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    picture = SimpleNamespace(to_ndarray=lambda format: pixels, rotation=90)
    assert np.array_equal(FilmFrame(Position(0, 0), False, 0, picture).image(), np.rot90(pixels))  # counterclockwise


def test_time_decides_where_frames_are_uneven(make_film: MakeFilm) -> None:
    times = [0, 40, 80, 500, 540, 2000, 2010, 4000]
    frames = list(FilmReader(make_film("film.mkv", times)).frames())
    assert [f.position.time for f in frames] == pytest.approx([t / 1000 for t in times])
    assert not any(f.leaps for f in frames)


def test_time_begins_with_the_first_frame(make_film: MakeFilm) -> None:
    frames = list(FilmReader(make_film("film.mkv", range(3000, 4000, 100))).frames())
    assert [f.position.time for f in frames] == pytest.approx([n / 10 for n in range(10)])


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi"])
@pytest.mark.parametrize("at", [0, 1, 57, 120, 149])
def test_reading_goes_on_in_the_middle(make_film: MakeFilm, name: str, at: int) -> None:
    path = make_film(name, range(0, 6000, 40))
    whole = list(FilmReader(path).frames())
    rest = list(FilmReader(path).frames(whole[at].position))
    assert [f.position for f in rest] == [f.position for f in whole[at:]]
    assert [level(f.image()) for f in rest] == [level(f.image()) for f in whole[at:]]
    assert not list(FilmReader(path).frames(Position(150, 6.0)))


def test_reading_goes_on_without_decoding_what_lies_before(
    make_film: MakeFilm, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_film(times=range(0, 12_000, 40))
    start = list(FilmReader(path).frames())[280].position
    decoded: list[object] = []
    pictures = FilmReader._pictures

    def counted(reader: FilmReader, container: object) -> Iterator[tuple[object, int]]:
        for picture in pictures(reader, container):
            decoded.append(picture)
            yield picture

    monkeypatch.setattr(FilmReader, "_pictures", counted)
    assert [f.position.number for f in FilmReader(path).frames(start)] == list(range(280, 300))
    assert len(decoded) < 100


def test_a_stamp_that_the_film_does_not_have_is_not_sought(make_film: MakeFilm) -> None:
    path = make_film(times=range(0, 6000, 40))
    whole = list(FilmReader(path).frames())
    assert whole[140].position.stamp is not None
    start = replace(whole[140].position, stamp=whole[140].position.stamp + 1)
    rest = list(FilmReader(path).frames(start))
    assert [level(f.image()) for f in rest] == [level(f.image()) for f in whole[140:]]


@pytest.mark.parametrize(("ending", "codec"), [("ts", "mpeg4"), ("mpg", "mpeg2video"), ("mkv", "mpeg4")])
def test_reading_goes_on_before_and_behind_the_seam_of_two_recordings(
    make_film: MakeFilm, tmp_path: Path, ending: str, codec: str
) -> None:
    # With grain, since small frames that share a packet of .mpg have no stamps of their own.
    parts = [make_film(f"{n}.{ending}", range(0, 1000 * n, 40), codec, grain=15).read_bytes() for n in (6, 9)]
    path = tmp_path / f"two.{ending}"
    path.write_bytes(b"".join(parts))
    whole = list(FilmReader(path).frames())
    assert whole[150].leaps
    assert len(whole) == 375
    for at in (110, 149, 160, 300):
        rest = list(FilmReader(path).frames(whole[at].position))
        assert [f.position for f in rest] == [f.position for f in whole[at:]]
        assert [level(f.image()) for f in rest] == [level(f.image()) for f in whole[at:]]


@pytest.mark.parametrize(("name", "codec"), [("film.264", "libx264"), ("film.mjpeg", "mjpeg")])
def test_a_film_without_timestamps_runs_at_fps(make_film: MakeFilm, name: str, codec: str) -> None:
    av = pytest.importorskip("av")
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this build of FFmpeg has no {codec}")
    path = make_film(name, codec=codec)
    reader = FilmReader(path)
    whole = list(reader.frames())
    assert [f.position.time for f in whole] == pytest.approx([0.04 * n for n in range(25)])
    assert reader.counts == {"assumed_fps": 25}
    reader = FilmReader(path, fps=10)
    assert [f.position.time for f in reader.frames()] == pytest.approx([0.1 * n for n in range(25)])
    assert not reader.counts
    rest = list(FilmReader(path).frames(whole[13].position))
    assert [f.position for f in rest] == [f.position for f in whole[13:]]


def test_a_film_that_ends_in_mid_frame_gives_what_it_has(make_film: MakeFilm, tmp_path: Path) -> None:
    content = make_film("film.mkv", range(0, 4000, 40)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) * 6 // 10])
    frames = list(FilmReader(tmp_path / "cut.mkv").frames())
    assert [f.position.number for f in frames] == list(range(len(frames)))
    assert 40 < len(frames) < 90


def test_damage_in_the_middle_is_passed_over(make_film: MakeFilm) -> None:
    path = make_film("film.ts", range(0, 4000, 40))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 188 * 40] = np.random.default_rng(0).bytes(188 * 40)
    path.write_bytes(bytes(content))
    reader = FilmReader(path)
    frames = list(reader.frames())
    assert 50 < len(frames) < 100
    assert frames[-1].position.time == pytest.approx(3.96, abs=0.3)


def test_what_cannot_be_decoded_is_counted_before_the_next_frame(make_film: MakeFilm) -> None:
    path = make_film("film.mp4", range(0, 4000, 40))
    whole = list(FilmReader(path).frames())
    assert len(whole) == 100
    assert not any(frame.lost for frame in whole)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    path.write_bytes(bytes(content))
    frames = list(FilmReader(path).frames())
    lost = [frame.lost for frame in frames]
    assert sum(lost) > 0
    assert len(frames) + sum(lost) == 100
    assert not any(frame.picture.is_corrupt for frame in frames)
    first = next(number for number, frame in enumerate(frames) if frame.lost)
    known = FilmReader(path, numbered=True).frames()
    assert [next(known).position.number for _ in range(first)] == list(range(first))
    with pytest.raises(PasserbyError, match=rf"damaged before frame {first + 1}, so that boxes no longer belong"):
        next(known)


def test_what_cannot_be_decoded_behind_the_last_frame_is_counted_too(make_film: MakeFilm) -> None:
    path = make_film("film.mp4", range(0, 4000, 40))
    content = bytearray(path.read_bytes())
    end = content.find(b"moov") - 4  # of the frames
    content[end - 1000 : end] = np.random.default_rng(0).bytes(1000)
    path.write_bytes(bytes(content))
    reader = FilmReader(path)
    frames = list(reader.frames())
    assert reader.counts["damaged"] > 0
    assert len(list(FilmReader(path, numbered=True).frames())) == len(frames)
    assert len(frames) + sum(frame.lost for frame in frames) + reader.counts["damaged"] == 100


def test_what_is_no_film_is_refused(tmp_path: Path, make_film: MakeFilm) -> None:
    with pytest.raises(PasserbyError, match="no such film"):
        FilmReader(tmp_path / "nowhere.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("no film")
    with pytest.raises(PasserbyError, match=r"text\.mp4: cannot be opened as a film"):
        FilmReader(text)
    cut = tmp_path / "cut.mp4"  # the index of an MP4 stands at its end
    cut.write_bytes(make_film().read_bytes()[:1500])
    with pytest.raises(PasserbyError, match=r"cut\.mp4: cannot be opened as a film"):
        FilmReader(cut)
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    with pytest.raises(PasserbyError, match=r"sound\.wav: has no video stream"):
        FilmReader(tmp_path / "sound.wav")


@given(st.lists(st.none() | st.integers(0, 9000).map(lambda n: n / 90), min_size=1, max_size=30), st.integers(0, 29))
def test_time_never_stands_still_and_can_be_taken_up(stamps: list[float | None], at: int) -> None:
    clock, times, offsets = Clock(0.04, None), [], []
    for stamp in stamps:
        times.append(clock.tick(stamp)[0])
        offsets.append(clock.offset)
    assert times[0] == 0
    assert all(b > a for a, b in itertools.pairwise(times))
    at %= len(stamps)
    again = Clock(0.04, Position(at, times[at], None, offsets[at]))
    assert [again.tick(s)[0] for s in stamps[at:]] == pytest.approx(times[at:], abs=1e-6)


def test_time_that_runs_backwards_goes_on() -> None:
    clock = Clock(0.1, None)
    assert [clock.tick(s) for s in (5.0, 5.1, 7.0, 0.0, 0.1)] == [
        (0.0, False),
        (pytest.approx(0.1), False),
        (2.0, False),
        (pytest.approx(2.1), True),
        (pytest.approx(2.2), False),
    ]


def test_numbered_pictures(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        Image.new("RGB", (40, 30), (number * 10, 0, 0)).save(tmp_path / f"{number:06d}.png")
    (tmp_path / "notes.txt").write_text("")
    reader = PictureReader(tmp_path, 5.0)
    assert reader.total == 3
    frames = list(reader.frames())
    assert [(f.position.number, f.position.time) for f in frames] == [(0, 0.0), (1, 0.2), (9, 1.8)]
    assert [int(f.image()[0, 0, 0]) for f in frames] == [10, 20, 100]
    assert frames[2].small()[0, 0].tolist() == [0, 0, 100]
    assert [f.position.number for f in reader.frames(Position(1, 0.2))] == [1, 9]
    assert [f.lost for f in frames] == [0, 0, 0]
    for broken in ("000002.png", "000011.png"):
        (tmp_path / broken).write_bytes(b"no picture")
    reader = PictureReader(tmp_path, 5.0)
    assert [(f.position.number, f.lost) for f in reader.frames()] == [(0, 0), (9, 1)]
    assert reader.counts == {"damaged": 1}
    for whole in ("000001.png", "000010.png"):
        (tmp_path / whole).unlink()
    with pytest.raises(PasserbyError, match=r"0000(02|11)\.png: cannot be read as an image"):
        list(PictureReader(tmp_path, 5.0).frames())
    (tmp_path / "empty").mkdir()
    with pytest.raises(PasserbyError, match="no numbered pictures"):
        PictureReader(tmp_path / "empty", 5.0)
    (tmp_path / "empty" / "000000.png").write_bytes(b"")
    with pytest.raises(PasserbyError, match=r"000000\.png: pictures count from 1"):
        PictureReader(tmp_path / "empty", 5.0)
