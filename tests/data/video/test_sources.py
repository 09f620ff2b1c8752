"""Sources: what is named is found, named apart, and told apart."""

import tarfile
from pathlib import Path

import pytest
from PIL import Image

from passerby.data.video.crops import Crop, parse_key
from passerby.data.video.settings import IngestSettings
from passerby.data.video.sources import _name, find_sources, free_name
from passerby.errors import PasserbyError


def film(path: Path, content: bytes = b"film") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_folders_stand_for_what_is_in_them(tmp_path: Path, street: Path) -> None:
    film(tmp_path / "b film.mp4")
    film(tmp_path / "a.MKV")
    film(tmp_path / "notes.txt")
    (tmp_path / "seq.01" / "img1").mkdir(parents=True)
    crops = tmp_path / "cut"
    crops.mkdir()
    Image.new("RGB", (8, 16)).save(crops / "3_17.jpg")
    found = find_sources([tmp_path, street])
    assert [(s.kind, s.name) for s in found] == [
        ("film", "a"),
        ("film", "b-film"),
        ("crops", "cut"),
        ("mot", "seq-01"),
        ("mot", "street-00"),
    ]
    # A file is a film when it is named, whatever it is called; opening it tells.
    assert find_sources([tmp_path / "notes.txt"])[0].kind == "film"


def test_films_of_the_same_name_are_called_by_their_folders_too(tmp_path: Path) -> None:
    paths = [film(tmp_path / "day 1" / "cam.mp4"), film(tmp_path / "day 2" / "cam.mp4"), film(tmp_path / "x.mp4")]
    assert [s.name for s in find_sources(paths)] == ["day-1-cam", "day-2-cam", "x"]
    *_, last = find_sources([*paths, film(tmp_path / "other" / "day 1" / "cam.mp4", b"other")])
    assert last.name == "day-1-cam"
    assert free_name(last, last.digest(), {"x"}) == "day-1-cam"
    assert free_name(last, last.digest(), {"day-1-cam"}) == f"day-1-cam-{last.digest()[:12]}"
    (alone,) = find_sources([film(tmp_path / "day 3" / f"{'c' * 90}.mp4")])
    assert free_name(alone, alone.digest(), {"c" * 80}) == f"day-3-{'c' * 74}"
    assert (
        free_name(alone, alone.digest(), {"c" * 80, f"day-3-{'c' * 74}"}) == f"day-3-{'c' * 61}-{alone.digest()[:12]}"
    )


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("фильм один", "фильм-один"),
        ("и\u0306", "й"),  # as macOS spells it
        ("電影 第1集", "電影-第1集"),
        ("cam² ½፩", "cam2-1-2"),  # what JSON's reader takes for no word
        ("clip-(1)--a_b.c", "clip--1---a_b-c"),
        ("\udcff🎬", "film"),
        ("電" * 60, "電" * 26),
        ("x" * 200, "x" * 80),
    ],
)
def test_names_keep_the_letters_of_any_script(stem: str, name: str) -> None:
    assert _name(stem) == name
    crop = Crop(film=name, shot=10**5, frame=2**62, index=999, time=0)
    assert parse_key(crop.key) == (name, 10**5, 2**62, 999)
    assert tarfile.TarInfo(f"{crop.key}.json").tobuf(tarfile.USTAR_FORMAT, "utf-8")


def test_digests_tell_films_apart(tmp_path: Path) -> None:
    first, same, other = (film(tmp_path / f"{n}.mp4", c) for n, c in (("a", b"1"), ("b", b"1"), ("c", b"2")))
    digests = [s.digest() for s in find_sources([first, same, other])]
    assert digests[0] == digests[1] != digests[2]
    folder = tmp_path / "crops"
    folder.mkdir()
    Image.new("RGB", (8, 16)).save(folder / "3_17.jpg")
    before = find_sources([folder])[0].digest()
    film(folder / "shards.json")
    assert find_sources([folder])[0].digest() == before  # of crops nothing else is read
    Image.new("RGB", (8, 16)).save(folder / "3_18.jpg")
    assert find_sources([folder])[0].digest() != before


def test_settings_name_a_detector_by_its_bytes(tmp_path: Path) -> None:
    detectors = [film(tmp_path / f"{n}.onnx", c) for n, c in (("a", b"1"), ("b", b"1"), ("c", b"2"))]
    digests = [IngestSettings(detector=path).digest() for path in detectors]
    assert digests[0] == digests[1] != digests[2]


def test_digests_tell_pictures_of_one_name_and_length_apart(tmp_path: Path) -> None:
    for name, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 16), colour).save(tmp_path / name / "3_17.bmp")
    first, second = find_sources([tmp_path])
    assert (first.kind, first.name, second.kind, second.name) == ("crops", "a", "crops", "b")
    assert first.digest() != second.digest()


def test_what_is_still_being_written_is_passed_over(tmp_path: Path) -> None:
    film(tmp_path / ".half.mp4")
    (tmp_path / ".street-00.tmp" / "img1").mkdir(parents=True)
    film(tmp_path / "whole.mp4")
    assert [s.name for s in find_sources([tmp_path])] == ["whole"]


def test_links_within_a_folder_are_found_too(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").symlink_to(film(tmp_path / "a.mp4"))
    (tmp_path / "c.mp4").symlink_to(tmp_path / "not-mounted.mp4")
    first, link, dangling = find_sources([tmp_path])
    assert first.digest() == link.digest()
    assert (dangling.kind, dangling.name) == ("film", "c")
    with pytest.raises(FileNotFoundError):
        dangling.digest()


def test_nothing_to_ingest_is_said(tmp_path: Path) -> None:
    with pytest.raises(PasserbyError, match="no such film or folder"):
        find_sources([tmp_path / "nowhere"])
    with pytest.raises(PasserbyError, match="holds no film"):
        find_sources([tmp_path])
    path = film(tmp_path / "a.mp4")
    with pytest.raises(PasserbyError, match="was named twice"):
        find_sources([path, tmp_path / "sub" / ".." / "a.mp4"] if (tmp_path / "sub").mkdir() is None else [])
    (tmp_path / "link.mp4").symlink_to(path)
    with pytest.raises(PasserbyError, match=r"a\.mp4: was named twice"):
        find_sources([path, tmp_path / "link.mp4"])
