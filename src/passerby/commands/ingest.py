"""passerby ingest: film in, shards of crops out."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from passerby.commands.film_bars import film_bars
from passerby.commands.warnings import caution
from passerby.data.video.detector import load_detector
from passerby.data.video.digests import digest_sources
from passerby.data.video.engines import Engine, run_jobs
from passerby.data.video.film import FilmJob
from passerby.data.video.known_films import FinishedFilm, check_settings, films_to_do, finished_films
from passerby.data.video.listing import Listing
from passerby.data.video.mot import open_mot
from passerby.data.video.settings import IngestSettings
from passerby.data.video.shards import open_shards
from passerby.data.video.sheet import contact_sheet
from passerby.data.video.sources import Failure, Source, find_sources
from passerby.data.video.writer import begun_films, merge_listings
from passerby.errors import PasserbyError, first_of
from passerby.extras import import_extra
from passerby.files import atomic_file, write_text

SHEET, SUMMARY = "contact.jpg", "summary.json"


def ingest(
    paths: Sequence[Path],
    out: Path,
    settings: IngestSettings,
    *,
    workers: int | None = None,
    threads: int | None = None,
    engine: Engine = "local",
    progress: bool = True,
) -> Listing:
    """Ingests films into a set of shards, or into one that is there already.

    Films that are finished there are passed over, one that was under way is taken up, one that lost a tar is done again,
    whatever their files are called by now.
    Of films with the same pictures the first one counts: a person must not be a negative of the same picture.

    Args:
        paths: video files, MOT sequences, folders of crops, or folders of these.
        out: folder of the shards.
        settings: what decides the crops.
        workers: films at a time; by default one for two processors.
        threads: for each film; by default the processors shared among the workers, at least 2.
        engine: processes of this machine, or Ray.
        progress: shows a bar a film.

    Returns:
        the listing of the whole set.

    Raises:
        PasserbyError: when nothing can be ingested, the detector is missing, or the folder holds films that were ingested
            with other settings.
    """
    sources = find_sources(paths)
    _check_detector(sources, settings)
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        finished, begun = finished_films(out), begun_films(out)
        check_settings(out, {name: film.settings for name, film in finished.items()}, settings)
        todo, skipped = films_to_do(digest_sources(sources, out, progress=progress), out, finished, begun)
        taken_up = {source.name for source, _ in todo}
        check_settings(out, {name: film.settings for name, film in begun.items() if name in taken_up}, settings)
        _tell_left(out, [name for name in begun if name not in {*taken_up, *finished}])
        processors = os.cpu_count() or 2
        workers = max(1, min(workers or processors // 2, len(todo) or 1))
        threads = threads or max(2, processors // workers)
        jobs = [FilmJob(source, digest, out, settings, True, threads) for source, digest in todo]
        with film_bars(progress, len(jobs)) as bars:
            for job, outcome in run_jobs(jobs, engine, workers, bars):
                bars.end(job.source.name)
                if isinstance(outcome, Failure):
                    skipped.append((job.source.name, outcome.reason))
                else:
                    finished[job.source.name] = FinishedFilm.of(outcome)
        if skipped and not finished:
            raise PasserbyError(_reasons([reason for _, reason in skipped]))
        listing = merge_listings(out, sorted(finished))
        counts = {name: finished[name].counts for name in sorted(finished)}
        reasons = _by_name(skipped)
        write_text(out / SUMMARY, json.dumps({"films": counts, "skipped": reasons}, indent=1))
        _show(counts, reasons)
        if not listing.films:
            few = f"with fewer than {settings.min_people:g} people (--min-people) or " if settings.min_people else ""
            raise PasserbyError(
                f"{out}: no shot left a crop; shots {few}with people in fewer than two frames are dropped, and people of "
                "whom the detector is not sure are not counted (--score)"
            )
        with atomic_file(out / SHEET) as temporary:
            contact_sheet(open_shards(out)).save(temporary, "JPEG", quality=88)
    print(f"{sum(s.crops for f in listing.films for s in f.shots):,} crops: {out}; look at {out / SHEET}")
    return listing


def _check_detector(sources: Sequence[Source], settings: IngestSettings) -> None:
    """Opens what is needed once, so that a missing library or detector is told at once and once."""
    if all(source.kind == "crops" for source in sources):
        return
    for module in ("av", "cv2", "scenedetect"):
        import_extra(module, "video")
    if settings.tracker is not None:
        import_extra("trackers", "tracks")
    if settings.detector is not None or any(_comes_without_boxes(source) for source in sources):
        load_detector(settings.detector, settings.score)


def _comes_without_boxes(source: Source) -> bool:
    """Whether somebody must find the people in it; not in what cannot be opened, which is skipped later."""
    try:
        if source.kind == "film":
            return source.path.exists()
        return source.kind == "mot" and open_mot(source.path).boxes is None
    except (PasserbyError, OSError):
        return False


def _tell_left(out: Path, names: Sequence[str]) -> None:
    """Says which films are under way that were not named this time: of a film that has changed since, that would be for ever."""
    for name in names:
        caution(
            f"{out}: '{name}' is under way there and not among these films; name its film to go on, or remove "
            f"films/{name}.journal and {name}-*.tar.part"
        )


def _reasons(skipped: Sequence[str]) -> str:
    """Why nothing could be ingested: the one reason, or some of many."""
    return skipped[0] if len(skipped) == 1 else f"none of {len(skipped)} films can be ingested: {first_of(skipped, 5)}"


def _by_name(skipped: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Why films were skipped; those that are called alike stand together."""
    reasons: dict[str, list[str]] = {}
    for name, reason in skipped:
        reasons.setdefault(name, []).append(reason)
    return {name: "; ".join(own) for name, own in reasons.items()}


def _show(counts: dict[str, dict[str, float]], skipped: dict[str, str]) -> None:
    """Prints what was found in each film, and what was not taken."""
    console = Console()
    table = Table("film", "frames", "looked at", "people", "shots", "kept", "too few", "short", "crops", box=None)
    for name, own in counts.items():
        few, short = own.get("shots_of_few", 0), own.get("short_shots", 0) + own.get("empty_shots", 0)
        numbers = [own.get(key, 0) for key in ("frames", "looked_at", "detections", "shots", "kept_shots")]
        table.add_row(name, *(f"{n:,.0f}" for n in (*numbers, few, short, own.get("crops", 0))))
    console.print(table)
    remarks = {
        "assumed_fps": "no timestamps: {:g} frames a second were assumed (--fps)",
        "damaged": "{:g} frames, or pieces of it, could not be decoded",
        "crowded_frames": "{:g} frames showed more people than are kept (--max-people)",
        "doubles": "{:g} crops showed a track twice in one instant (--join)",
        "unreadable": "{:g} crops could not be read",
        "misfits": "{:g} files are not named TRACK_FRAME.jpg",
    }
    for name, own in counts.items():
        for key, text in remarks.items():
            if own.get(key):
                caution(f"{name}: {text.format(own[key])}", console)
    for name, reason in skipped.items():
        caution(f"skipped {name}: {reason}", console)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keeps a second ingest off the same folder; the system takes the lock away from a process that died."""
    with (out / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PasserbyError(f"{out}: another ingest writes there; wait for it, or choose another --out") from error
        yield
