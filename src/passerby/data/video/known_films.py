"""What is finished in a set of shards, what is under way there, and what of some films is still to be done."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from passerby.data.video.listing import FilmListing, Tar, read_listing
from passerby.data.video.settings import IngestSettings
from passerby.data.video.sources import Failure, Source, free_name, shown_by
from passerby.data.video.writer import Begun
from passerby.errors import PasserbyError


@dataclass(frozen=True)
class FinishedFilm:
    """What is kept in memory of a finished film; the columns of all frames of a large set would fill it.

    Attributes:
        source: digest of what it was made from.
        settings: digest of everything that decided its crops.
        tars: its tars.
        counts: what was seen and what was skipped.
    """

    source: str
    settings: str
    tars: tuple[Tar, ...]
    counts: dict[str, float]

    @classmethod
    def of(cls, listing: FilmListing) -> Self:
        """The film of a listing."""
        return cls(listing.source, listing.settings, listing.film.tars, listing.counts)


def finished_films(out: Path) -> dict[str, FinishedFilm]:
    """The films of a set of shards, by name."""
    paths = sorted((out / "films").glob("*.json"))
    return {path.stem: FinishedFilm.of(read_listing(FilmListing, path)) for path in paths}


def check_settings(out: Path, films: Mapping[str, str], settings: IngestSettings) -> None:
    """Refuses other settings than those that films in `out` are of, be they finished or under way.

    Args:
        out: folder of the shards.
        films: digest of the settings of each, by name.
        settings: what is asked for now.

    Raises:
        PasserbyError: naming the first film that is of others, and what differs.
    """
    wanted = settings.digest()
    for name, own in films.items():
        if own != wanted:
            pairs = zip(own.split("; "), wanted.split("; "), strict=False)
            differs = ", ".join(f"{old} there, {new} here" for old, new in pairs if old != new)
            raise PasserbyError(
                f"{out}: '{name}' was ingested, or begun, with other settings ({differs}); choose another --out"
            )


def films_to_do(
    sources: Iterable[tuple[Source, str | Failure]],
    out: Path,
    finished: Mapping[str, FinishedFilm],
    begun: Mapping[str, Begun],
) -> tuple[list[tuple[Source, str]], list[tuple[str, str]]]:
    """Films that are to be done, with their digests; and why others are not.

    A film is known by its digest: what is finished or under way in `out` keeps its name there, whatever it would be called
    now, and a new film gets a name that no other film has.

    Args:
        sources: each with its digest, or why it has none.
        out: folder of the shards.
        finished: films that are done there, by name.
        begun: those under way there, by name.
    """
    taken = {*finished, *begun}
    under_way = {film.source: name for name, film in begun.items() if name not in finished}
    shown = {shown_by(film.source): name for name, film in finished.items()}
    met: set[str] = set()
    todo: list[tuple[Source, str]] = []
    skipped: list[tuple[str, str]] = []
    for source, digest in sources:
        if isinstance(digest, Failure):
            skipped.append((source.name, digest.reason))
            continue
        name = shown.get(shown_by(digest))
        if name is None:
            name = under_way.get(digest) or free_name(source, digest, taken)
            shown[shown_by(digest)] = name
            taken.add(name)
            todo.append((replace(source, name=name), digest))
        elif name in met or finished[name].source != digest:
            reason = f"the same film as '{name}'; of copies the first counts, whatever boxes they come with"
            skipped.append((source.name, f"{source.path}: {reason}"))
            continue
        elif not _tars_stand(out, finished[name].tars):
            todo.append((replace(source, name=name), digest))
        met.add(name)
    return todo, skipped


def _tars_stand(out: Path, tars: Sequence[Tar]) -> bool:
    """Whether the tars of a film are there at their lengths; one that was damaged is removed and made again."""
    return all((out / tar.name).is_file() and (out / tar.name).stat().st_size == tar.bytes for tar in tars)
