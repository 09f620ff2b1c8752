"""Reading shards of crops: any shot or frame at once, from disk, in memory that does not grow with the data.

Shards are tar files as WebDataset's: members `film/shot/frame-index.jpg` and `.json`. Whatever reads WebDataset reads them.
Here the listing says where each frame's bytes lie, so that a trainer that draws pairs of frames reads these alone.
"""

import tarfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from passerby.data.video.crops import StoredCrop, read_crop
from passerby.data.video.listing import (
    LISTING,
    Film,
    FilmListing,
    Frames,
    Listing,
    Shot,
    film_listing_path,
    read_listing,
)
from passerby.errors import PasserbyError
from passerby.files import sha256

_OPEN_LISTINGS = 256


@dataclass(frozen=True)
class ShotKey:
    """Where a shot stands in a set of shards.

    Attributes:
        film: its film.
        shot: its entry in the listing.
    """

    film: Film
    shot: Shot


class Shards:
    """A set of shards, opened by `open_shards`.

    Safe to use from several threads, and from processes forked after it was opened.

    Attributes:
        folder: where they lie.
        films: in the order of the listing.
        shots: of all films, in order; a shot's position here is its number for `frames` and `read`.
    """

    def __init__(self, folder: Path, listing: Listing) -> None:
        """For `open_shards`."""
        self.folder, self.films = folder, listing.films
        self.shots = tuple(ShotKey(film, shot) for film in listing.films for shot in film.shots)
        first = 0
        self._first: dict[str, int] = {}
        for film in listing.films:
            self._first[film.name] = first
            first += len(film.shots)
        self._listings: OrderedDict[str, FilmListing] = OrderedDict()

    @property
    def crops(self) -> int:
        """How many crops there are."""
        return sum(key.shot.crops for key in self.shots)

    def frames(self, shot: int) -> Frames:
        """Times and counts of the frames of a shot.

        Args:
            shot: position in `shots`.

        Raises:
            PasserbyError: when the film's listing is missing or does not fit.
        """
        film = self.shots[shot].film
        return self._listing(film).frames[shot - self._first[film.name]]

    def source(self, shot: int) -> str:
        """The digest of what the shot's film was made from, as `Source.digest` gives it.

        Args:
            shot: position in `shots`.

        Raises:
            PasserbyError: when the film's listing is missing or does not fit.
        """
        return self._listing(self.shots[shot].film).source

    def _listing(self, film: Film) -> FilmListing:
        listing = self._listings.pop(film.name, None)
        if listing is None:
            path = film_listing_path(self.folder, film.name)
            listing = read_listing(FilmListing, path)
            if listing.film != film:
                raise PasserbyError(f"{path}: differs from {LISTING}; run the ingest again, it mends the listing")
        self._listings[film.name] = listing  # the one used last stands last
        while len(self._listings) > _OPEN_LISTINGS:
            self._listings.popitem(last=False)
        return listing

    def read(self, shot: int, frames: Sequence[int] | None = None) -> list[StoredCrop]:
        """The crops of a shot, or of some of its frames.

        Args:
            shot: position in `shots`.
            frames: positions in `self.frames(shot)`, in the order wanted; None for the whole shot, in order of time.

        Raises:
            PasserbyError: when a tar is missing or damaged.
        """
        key = self.shots[shot]
        path, end = self.folder / key.film.tars[key.shot.tar].name, key.shot.offset + key.shot.bytes
        if frames is None:
            return _blocks(path, key, [(key.shot.offset, end, key.shot.crops)])
        columns = self.frames(shot)
        edges = (*columns.offsets, end)
        return _blocks(path, key, [(edges[f], edges[f + 1], columns.crops[f]) for f in frames])

    def stream(self) -> Iterator[list[StoredCrop]]:
        """The crops of one shot after the other; one shot is in memory at a time."""
        for shot in range(len(self.shots)):
            yield self.read(shot)

    def verify(self) -> None:
        """Reads every tar and compares it with the listing.

        Raises:
            PasserbyError: naming the first tar that differs.
        """
        for film in self.films:
            for tar in film.tars:
                if sha256(self.folder / tar.name) != tar.sha256:
                    raise PasserbyError(f"{self.folder / tar.name}: {_DAMAGED}")


def _blocks(path: Path, key: ShotKey, blocks: Sequence[tuple[int, int, int]]) -> list[StoredCrop]:
    """The crops in some pieces of a tar, each given as its first byte, the byte after its last, and its number of crops."""
    crops: list[StoredCrop] = []
    try:
        with path.open("rb") as stream:
            for begin, end, expected in blocks:
                stream.seek(begin)
                found = _members(stream.read(end - begin))
                strangers = [c for c in found if (c.crop.film, c.crop.shot) != (key.film.name, key.shot.number)]
                if strangers or len(found) != expected:
                    raise ValueError(f"{len(found)} crops instead of {expected}")
                crops += found
    except FileNotFoundError as error:
        raise PasserbyError(f"{path}: {_MISSING}") from error
    except (tarfile.TarError, ValueError) as error:
        raise PasserbyError(f"{path}: {_DAMAGED} (byte {begin}: {error})") from error
    return crops


_MISSING = "is missing; copy it again, or run the ingest again"
_DAMAGED = "is damaged; copy it again, or remove it and run the ingest again"


def _members(block: bytes) -> list[StoredCrop]:
    """The crops of a piece of a tar, which holds whole pairs of members."""
    crops: list[StoredCrop] = []
    picture: tuple[str, bytes] | None = None
    with tarfile.open(fileobj=BytesIO(block), mode="r:", encoding="utf-8") as tar:
        for member in tar:
            stem, _, kind = member.name.rpartition(".")
            stream = tar.extractfile(member)
            data = stream.read() if stream else b""
            if len(data) != member.size:
                raise ValueError(f"{member.name} is cut off")
            if kind == "jpg" and picture is None:
                picture = stem, data
            elif kind == "json" and picture is not None and picture[0] == stem:
                crops.append(StoredCrop(read_crop(stem, data), picture[1]))
                picture = None
            else:
                raise ValueError(f"{member.name} stands alone")
    if picture is not None:
        raise ValueError(f"{picture[0]}.jpg stands alone")
    return crops


def open_shards(folder: Path) -> Shards:
    """Opens a set of shards and checks that every tar is there at its length.

    Raises:
        PasserbyError: when the listing is missing or damaged, names no crop, or a tar is missing or of another length.
    """
    if not folder.is_dir():
        raise PasserbyError(f"{folder}: no folder of shards; `passerby ingest FILM --out {folder}` makes one")
    listing = read_listing(Listing, folder / LISTING)
    for film in listing.films:
        for tar in film.tars:
            path = folder / tar.name
            if not path.is_file():
                raise PasserbyError(f"{path}: {_MISSING}")
            if path.stat().st_size != tar.bytes:
                raise PasserbyError(f"{path}: {_DAMAGED} ({path.stat().st_size} bytes instead of {tar.bytes})")
    shards = Shards(folder, listing)
    if not shards.shots:
        raise PasserbyError(f"{folder}: holds no crop; its summary says why")
    return shards
