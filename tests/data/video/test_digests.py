"""Digests: read once, and again only when what they name has changed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from passerby.data.video.digests import MEMORY, digest_sources
from passerby.data.video.sources import Failure, Source, find_sources


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A film, a folder of crops, a MOT sequence, and a link to a film that is not there."""
    folder = tmp_path / "films"
    for inner in ("cut", "seq/img1", "seq/gt"):
        (folder / inner).mkdir(parents=True)
    (folder / "a.mp4").write_bytes(b"film")
    Image.new("RGB", (8, 16)).save(folder / "cut" / "3_17.jpg")
    Image.new("RGB", (8, 16)).save(folder / "seq" / "img1" / "000001.jpg")
    (folder / "seq" / "gt" / "gt.txt").write_text("1,1,1,1,5,5\n")
    (folder / "gone.mp4").symlink_to(folder / "not-mounted.mp4")
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the sources that are read."""
    names: list[str] = []
    original = Source.digest

    def digest(source: Source) -> str:
        names.append(source.name)
        return original(source)

    monkeypatch.setattr(Source, "digest", digest)
    return names


def digests(films: Path, out: Path) -> dict[str, str]:
    """Of what can be read; the link cannot."""
    found = {source.name: digest for source, digest in digest_sources(find_sources([films]), out, progress=False)}
    gone = found.pop("gone")
    assert isinstance(gone, Failure)
    assert "not-mounted.mp4: no such file" in gone.reason or "gone.mp4: no such file" in gone.reason
    return {name: digest for name, digest in found.items() if isinstance(digest, str)}


def test_what_was_read_is_remembered(films: Path, tmp_path: Path, read: list[str]) -> None:
    direct = {source.name: source.digest() for source in find_sources([films]) if source.name != "gone"}
    read.clear()
    assert digests(films, tmp_path) == direct
    assert read == ["a", "cut", "gone", "seq"]
    read.clear()
    assert digests(films, tmp_path) == direct
    assert read == ["gone"]


@pytest.mark.parametrize(
    ("file", "name"),
    [("a.mp4", "a"), ("cut/3_17.jpg", "cut"), ("seq/img1/000001.jpg", "seq"), ("seq/gt/gt.txt", "seq")],
)
def test_what_has_changed_is_read_again(films: Path, tmp_path: Path, read: list[str], file: str, name: str) -> None:
    before, path = digests(films, tmp_path), films / file
    for change in ("time", "size", "name"):
        read.clear()
        if change == "time":
            path.write_bytes(path.read_bytes()[:-1] + b"!")
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        elif change == "size":
            with path.open("ab") as stream:
                stream.write(b"!")
            os.utime(path, ns=(0, 10**18))
        elif path.suffix == ".jpg":
            path.rename(path.with_name("4_18.jpg"))
        else:
            continue
        after = digests(films, tmp_path)
        assert read == sorted({"gone", name})
        assert {other for other in before if after[other] != before[other]} == {name}
        before = after


def test_a_name_that_is_no_text_is_remembered_too(tmp_path: Path, read: list[str]) -> None:
    path = tmp_path / "\udcff.mp4"
    path.write_bytes(b"film")
    first, second = (digest_sources(find_sources([path]), tmp_path, progress=False) for _ in range(2))
    assert first == second
    assert read == ["film"]


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[]"])
def test_a_damaged_memory_is_made_anew(films: Path, tmp_path: Path, read: list[str], text: str) -> None:
    whole = digests(films, tmp_path), (tmp_path / MEMORY).read_text()
    (tmp_path / MEMORY).write_text(text)
    read.clear()
    assert (digests(films, tmp_path), (tmp_path / MEMORY).read_text()) == whole
    assert read == ["a", "cut", "gone", "seq"]


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_what_was_read_before_the_end_is_not_lost(
    films: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, every: float
) -> None:
    monkeypatch.setattr("passerby.data.video.digests._SAVE_EVERY", every)
    original = Source.digest

    def digest(source: Source) -> str:
        if source.name == "seq":
            assert (tmp_path / MEMORY).exists() == (every == 0)  # as a kill would leave it
            raise KeyboardInterrupt
        return original(source)

    with monkeypatch.context() as patch:
        patch.setattr(Source, "digest", digest)
        with pytest.raises(KeyboardInterrupt):
            digests(films, tmp_path)
    read.clear()
    digests(films, tmp_path)
    assert read == ["gone", "seq"]


def test_a_bar_is_shown_where_much_is_read(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden: list[bool] = []

    def track(items: list[object], name: str, *, transient: bool, disable: bool) -> Iterator[object]:
        hidden.append(disable)
        return iter(items)

    monkeypatch.setattr("passerby.data.video.digests.track", track)
    sources = find_sources([films])
    for much, progress in ((10**6, True), (1, False), (1, True), (1, True)):
        if len(hidden) < 3:  # the last time nothing is read
            (tmp_path / MEMORY).unlink(missing_ok=True)
        monkeypatch.setattr("passerby.data.video.digests._MUCH", much)
        digest_sources(sources, tmp_path, progress=progress)
    assert hidden == [True, True, False, True]
