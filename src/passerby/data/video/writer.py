"""Writing the shards of one film: shot by shot, so that a kill loses no shot that was written and doubles none.

While a film is under way its tars are called `.tar.part`, and a journal says after each shot how far they and the film have
come. What lies behind the journal's last line is cut off when the film is taken up again. In the end the tars get their
names and the film its listing; a film without a listing is not finished.
"""

import os
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Self

from pydantic import ValidationError

from passerby.data.video.crops import StoredCrop
from passerby.data.video.listing import (
    LISTING,
    Entry,
    Film,
    FilmListing,
    Frames,
    Listing,
    Shot,
    Tar,
    film_listing_path,
    read_listing,
)
from passerby.files import sha256, write_text

TAR_BYTES = 256 * 2**20
"""Once a tar is that long the next shot goes into another."""

State = dict[str, Any]
"""What the reader of a film needs to go on in its middle; JSON's types."""


class Begun(Entry):
    """First line of a journal: what a film under way is made from.

    Attributes:
        source: digest of what is read.
        settings: digest of everything that decides the crops.
    """

    source: str
    settings: str


class _Line(Entry):
    """Any other line: a shot that was written, or a stretch of film that left none."""

    shot: Shot | None
    frames: Frames | None
    tar: int
    end: int
    """Bytes of that tar that hold whole shots."""
    state: State


class FilmWriter:
    """Writes the crops of one film. Use it inside `with`, up to `finish`.

    Where an earlier process was killed it goes on behind the last shot that was written; `state` then says where the
    film's reader must go on. Work that was begun on another source or with other settings is thrown away.

    Attributes:
        state: what the reader said after the last shot; None at the beginning of the film.
    """

    def __init__(
        self, folder: Path, film: str, *, source: str, settings: str, resume: bool = True, tar_bytes: int = TAR_BYTES
    ) -> None:
        """Prepares; files are opened by `with`.

        Args:
            folder: of the shards.
            film: name of the film.
            source: digest of what is read.
            settings: digest of everything that decides the crops.
            resume: take up what an earlier process left.
            tar_bytes: once a tar is that long the next shot goes into another.
        """
        self.state: State | None = None
        self._folder, self._film, self._tar_bytes, self._resume = folder, film, tar_bytes, resume
        self._header = Begun(source=source, settings=settings)
        self._journal_path = folder / "films" / f"{film}.journal"
        self._shots: list[Shot] = []
        self._frames: list[Frames] = []
        self._tar = self._end = 0
        self._journal: BinaryIO
        self._stream: BinaryIO

    def __enter__(self) -> Self:
        self._journal_path.parent.mkdir(parents=True, exist_ok=True)
        if not (self._resume and self._take_up()):
            self._discard()
            self._journal = self._journal_path.open("wb")
            self._append(self._header)
        path = self._part(self._tar)
        self._stream = path.open("r+b" if path.exists() else "w+b")
        self._stream.truncate(self._end)
        self._stream.seek(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._journal.close()

    def add(self, crops: Sequence[StoredCrop], state: State) -> None:
        """Writes the crops of one shot, and how far the film has come; when it returns, both are on the disk.

        Args:
            crops: of one shot, in order of frame and index; none for a stretch of film that leaves no shot.
            state: what the reader needs to go on behind this shot.
        """
        shot, frames = self._write(crops) if crops else (None, None)
        if shot is not None and frames is not None:
            self._shots.append(shot)
            self._frames.append(frames)
        self._append(_Line(shot=shot, frames=frames, tar=self._tar, end=self._stream.tell(), state=state))
        self.state = state

    def finish(self, counts: dict[str, float]) -> FilmListing:
        """Gives the tars their names and writes the film's listing.

        Args:
            counts: what was seen and what was skipped.
        """
        self._close_tar()
        tars = []
        for number in range(self._tar + 1 if self._shots else 0):
            path = self._part(number).with_suffix("")
            self._part(number).replace(path)
            tars.append(Tar(name=path.name, bytes=path.stat().st_size, sha256=sha256(path)))
        film = Film(name=self._film, tars=tuple(tars), shots=tuple(self._shots))
        header = self._header
        listing = FilmListing(
            film=film, frames=tuple(self._frames), source=header.source, settings=header.settings, counts=counts
        )
        write_text(film_listing_path(self._folder, self._film), listing.model_dump_json())
        self._discard()
        return listing

    def _take_up(self) -> bool:
        """Takes up what an earlier process left; False where there is nothing, or nothing that fits."""
        for path in self._folder.glob(f"{self._film}-{'[0-9]' * 6}.tar"):
            path.replace(path.with_name(path.name + ".part"))  # killed while tars got their names
        try:
            text = self._journal_path.read_bytes()
            # A line that was cut off by the kill has no end; what it speaks of was not finished.
            whole = text[: text.rfind(b"\n") + 1]
            header, *lines = whole.splitlines()
            if Begun.model_validate_json(header) != self._header:
                return False
            for line in (_Line.model_validate_json(line) for line in lines):
                self._tar, self._end, self.state = line.tar, line.end, line.state
                if line.shot is not None and line.frames is not None:
                    self._shots.append(line.shot)
                    self._frames.append(line.frames)
            sizes = [self._part(number).stat().st_size for number in range(self._tar + 1)]
        except (FileNotFoundError, ValueError, ValidationError):
            sizes = []
        if not sizes or sizes[-1] < self._end:
            self._shots, self._frames, self._tar, self._end, self.state = [], [], 0, 0, None
            return False
        self._journal = self._journal_path.open("r+b")
        self._journal.truncate(len(whole))
        self._journal.seek(len(whole))
        return True

    def _discard(self) -> None:
        for path in self._folder.glob(f"{self._film}-{'[0-9]' * 6}.tar.part"):
            path.unlink()
        self._journal_path.unlink(missing_ok=True)

    def _part(self, number: int) -> Path:
        return self._folder / f"{self._film}-{number:06d}.tar.part"

    def _append(self, line: Begun | _Line) -> None:
        self._journal.write(line.model_dump_json().encode() + b"\n")
        _sync(self._journal)

    def _write(self, crops: Sequence[StoredCrop]) -> tuple[Shot, Frames]:
        if self._stream.tell() >= self._tar_bytes:
            self._close_tar()
            self._tar += 1
            self._stream = self._part(self._tar).open("w+b")
        first, offset = crops[0].crop, self._stream.tell()
        columns: list[tuple[int, float, int, int]] = []
        tar = _tar_at_end(self._stream)
        for frame, group in groupby(crops, key=lambda stored: stored.crop.frame):
            people = list(group)
            columns.append((frame, people[0].crop.time, len(people), self._stream.tell()))
            for person in people:
                _add_member(tar, f"{person.crop.key}.jpg", person.jpeg)
                _add_member(tar, f"{person.crop.key}.json", person.crop.model_dump_json().encode())
        _sync(self._stream)
        numbers, times, counts, offsets = zip(*columns, strict=True)
        shot = Shot(
            number=first.shot,
            tar=self._tar,
            offset=offset,
            bytes=self._stream.tell() - offset,
            frames=len(columns),
            crops=len(crops),
            start=times[0],
            end=times[-1],
            identities=len({c.crop.identity for c in crops if c.crop.identity is not None}),
        )
        return shot, Frames(numbers=numbers, times=times, crops=counts, offsets=offsets)

    def _close_tar(self) -> None:
        _tar_at_end(self._stream).close()  # writes the end of the archive
        _sync(self._stream)
        self._stream.close()


def begun_films(folder: Path) -> dict[str, Begun]:
    """The films that are under way, by name."""
    begun = {}
    for path in sorted((folder / "films").glob("*.journal")):
        with path.open("rb") as journal, suppress(ValidationError):  # a first line that a kill cut off names nothing
            begun[path.stem] = Begun.model_validate_json(journal.readline())
    return begun


def merge_listings(folder: Path, films: Sequence[str]) -> Listing:
    """Writes `shards.json` from the listings of the finished films.

    Args:
        folder: of the shards.
        films: names, in the order of the listing; films that left no shot are not listed.
    """
    # One listing is in memory at a time: the columns of all frames of a large set would fill it.
    found = (read_listing(FilmListing, film_listing_path(folder, name)).film for name in films)
    listing = Listing(films=tuple(film for film in found if film.shots))
    write_text(folder / LISTING, listing.model_dump_json())
    return listing


def _tar_at_end(stream: BinaryIO) -> tarfile.TarFile:
    """A tar writer that goes on where the stream stands. It is made anew for every shot: it remembers all its members."""
    return tarfile.TarFile(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8")


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Adds a file without date or owner: the same crops make the same bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(data), 0o444, 0
    tar.addfile(member, BytesIO(data))


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())
