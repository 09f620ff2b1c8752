"""What lies where in a set of shards: enough for a trainer to plan an epoch without opening a tar.

`shards.json` names every film, tar and shot. `films/NAME.json` adds the frames of each shot of one film: it is read when a
frame of the film is wanted, so that the listing of a large set stays small.
"""

from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from passerby.errors import PasserbyError

LISTING = "shards.json"
VERSION: Literal[1] = 1

T = TypeVar("T", bound="Entry")


class Entry(BaseModel):
    """Part of a listing: frozen and strict."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Tar(Entry):
    """One tar file, `NAME-000000.tar`, beside `shards.json`."""

    name: str
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Shot(Entry):
    """One shot, or a stretch of a long one: its crops stand together in one tar, in order of time."""

    number: int = Field(ge=0)
    tar: int = Field(ge=0)
    """Number of the film's tar."""
    offset: int = Field(ge=0)
    bytes: int = Field(gt=0)
    """The members lie in bytes [offset, offset + bytes) of the tar."""
    frames: int = Field(ge=1)
    """Frames that show somebody."""
    crops: int = Field(ge=1)
    start: float
    end: float
    """Times of the first and the last of these frames, seconds from the film's first frame."""
    identities: int = Field(0, ge=0)
    """People, where ground truth says who they are."""


class Frames(Entry):
    """The frames of one shot that show somebody, as columns in order of time."""

    numbers: tuple[int, ...]
    times: tuple[float, ...]
    """Seconds from the film's first frame."""
    crops: tuple[int, ...]
    """People in each frame."""
    offsets: tuple[int, ...]
    """Byte of the tar at which each frame's members begin."""

    @model_validator(mode="after")
    def _columns_agree(self) -> Self:
        if not len(self.numbers) == len(self.times) == len(self.crops) == len(self.offsets) > 0:
            raise ValueError("columns of different lengths")
        if sorted(self.times) != list(self.times) or sorted(set(self.offsets)) != list(self.offsets):
            raise ValueError("frames are not in order of time")
        return self


class Film(Entry):
    """One film as `shards.json` lists it."""

    name: str = Field(pattern=r"^[\w-]{1,80}$")
    tars: tuple[Tar, ...]
    shots: tuple[Shot, ...]

    @model_validator(mode="after")
    def _shots_lie_in_tars(self) -> Self:
        for shot in self.shots:
            if shot.tar >= len(self.tars) or shot.offset + shot.bytes > self.tars[shot.tar].bytes:
                raise ValueError(f"shot {shot.number} lies outside its tar")
        return self


class FilmListing(Entry):
    """`films/NAME.json`: a finished film, its frames, and what it was made from."""

    version: Literal[1] = VERSION
    film: Film
    frames: tuple[Frames, ...]
    """Of each shot of `film`, in the same order."""
    source: str
    """Digest of what was read, so that the same film is not taken twice."""
    settings: str
    """Digest of everything that decides the crops."""
    counts: dict[str, float]
    """What was seen and what was skipped, for the summary."""

    @model_validator(mode="after")
    def _frames_are_of_the_shots(self) -> Self:
        if [(len(f.numbers), sum(f.crops)) for f in self.frames] != [(s.frames, s.crops) for s in self.film.shots]:
            raise ValueError("frames and shots do not agree")
        return self


class Listing(Entry):
    """`shards.json`: a whole set of shards."""

    version: Literal[1] = VERSION
    films: tuple[Film, ...]


def film_listing_path(folder: Path, film: str) -> Path:
    """Where the listing of one film lies."""
    return folder / "films" / f"{film}.json"


def read_listing(kind: type[T], path: Path) -> T:
    """A listing file.

    Raises:
        PasserbyError: when it is missing, damaged, or of another version of Passerby.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise PasserbyError(f"{path}: no such file; `passerby ingest` writes shards with their listing") from error
    except ValidationError as error:
        reason = error.errors()[0]
        where = ".".join(str(part) for part in reason["loc"]) or "the text"
        raise PasserbyError(
            f"{path}: no listing of shards of version {VERSION} ({where}: {reason['msg']}); make the shards again"
        ) from error
