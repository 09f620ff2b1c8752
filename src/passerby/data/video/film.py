"""One film into shards: the function that every engine runs, once a film.

Decoding and shot detection run in the calling thread; frames that are looked at go to a few threads of their own (scaling,
detection, JPEG), and come back in order. A shot is written when the next one has ended, so that nobody waits for anybody.
"""

from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from passerby.data.video.crop_folder import list_crops, read_instant, stretches
from passerby.data.video.cuts import CutDetector
from passerby.data.video.detector import load_detector
from passerby.data.video.frames import FPS, FilmReader, Position, Reader
from passerby.data.video.listing import FilmListing
from passerby.data.video.look import Look, looker
from passerby.data.video.mot import open_mot, read_boxes
from passerby.data.video.pictures import PictureReader
from passerby.data.video.settings import IngestSettings
from passerby.data.video.sources import Source
from passerby.data.video.stretch import Instant, finish_shot
from passerby.data.video.writer import FilmWriter

Advance = Callable[[int, int | None], None]
"""Told how many frames have passed, and of how many (where that is known)."""


@dataclass(frozen=True)
class FilmJob:
    """A film to ingest.

    Attributes:
        source: the film.
        digest: the source's.
        out: folder of the shards.
        settings: what decides the crops.
        resume: take up what an earlier process left.
        threads: that look at frames; the decoder has as many.
    """

    source: Source
    digest: str
    out: Path
    settings: IngestSettings
    resume: bool = True
    threads: int = 2


@dataclass
class _Shot:
    """A shot that is under way."""

    number: int
    first: Position
    passed: int = 0
    looks: list[Future[Instant]] = field(default_factory=list)


def ingest_film(job: FilmJob, advance: Advance = lambda done, total: None) -> FilmListing:
    """Reads a film, or what is left of it, and writes its shards.

    Args:
        job: the film.
        advance: told of every frame.

    Returns:
        what was written; a film without people leaves a listing without shots.

    Raises:
        PasserbyError: when it cannot be read, or the detector cannot be opened.
    """
    if job.source.kind == "crops":
        read = partial(_crops, job)
    else:
        reader, look = _open(job)
        read = partial(_film, job, reader, look)
    settings = job.settings.digest()
    with FilmWriter(job.out, job.source.name, source=job.digest, settings=settings, resume=job.resume) as writer:
        counts = read(writer, advance)
        return writer.finish({name: counts[name] for name in sorted(counts) if counts[name]})


def _open(job: FilmJob) -> tuple[Reader, Look]:
    """Frames and a way to look at them. Boxes of a MOT sequence serve unless a detector is asked for; truth then only names."""
    settings = job.settings
    if job.source.kind == "film":
        reader: Reader = FilmReader(job.source.path, settings.fps, job.threads)
        return reader, looker(settings, load_detector(settings.detector, settings.score), {})
    sequence = open_mot(job.source.path)
    asked = settings.detector is not None or sequence.boxes is None
    detector = load_detector(settings.detector, settings.score) if asked else None
    known = read_boxes(sequence) if detector is None or sequence.has_truth else {}
    fps = sequence.fps or settings.fps
    if sequence.film is not None:
        reader = FilmReader(sequence.film, fps, job.threads, numbered=bool(known))
    else:
        assert sequence.pictures is not None
        reader = PictureReader(sequence.pictures, fps or FPS)
        if fps is None:
            reader.counts["assumed_fps"] = FPS
    return reader, looker(settings, detector, known)


def _film(job: FilmJob, reader: Reader, look: Look, writer: FilmWriter, advance: Advance) -> Counter[str]:
    """Reads frames, cuts them into shots, has every so manyth looked at, and writes shot by shot."""
    settings = job.settings
    counts: Counter[str] = Counter(writer.state["counts"] if writer.state else {})
    start = Position(**writer.state["next"]) if writer.state else None
    cuts = CutDetector(settings.cut)
    shot: _Shot | None = None
    ended: deque[tuple[_Shot, Position, int, int]] = deque()
    total_frames, damaged = counts["frames"], counts["damaged"]

    def write() -> None:
        old, following, frames, lost = ended.popleft()
        crops = finish_shot(job.source.name, old.number, [f.result() for f in old.looks], settings, counts)
        counts["frames"], counts["damaged"] = frames, lost
        writer.add(crops, {"shot": old.number + 1, "next": asdict(following), "counts": dict(counts)})

    with ThreadPoolExecutor(job.threads) as pool:
        running: deque[Future[Instant]] = deque()
        try:
            for frame in reader.frames(start):
                here = frame.position
                cut = cuts.is_cut(frame.small())
                goes_on = shot is None and start is not None
                if not goes_on:  # what was lost before the frame that a run goes on with is counted already
                    damaged += frame.lost
                if shot is None:
                    shot = _Shot(writer.state["shot"] if writer.state else 0, here)
                elif cut or frame.leaps or here.time - shot.first.time >= settings.stretch:
                    ended.append((shot, here, total_frames, damaged))
                    shot = _Shot(shot.number + 1, here)
                    while len(ended) > 1:
                        write()
                if shot.passed % settings.every == 0:
                    while len(running) >= 2 * job.threads:
                        running.popleft().result()
                    running.append(pool.submit(look, frame))
                    shot.looks.append(running[-1])
                shot.passed += 1
                total_frames += 1
                advance(total_frames, reader.total)
            if shot is not None:
                ended.append((shot, Position(here.number + 1, here.time, None, here.offset), total_frames, damaged))
            while ended:
                write()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    counts.update({name: int(value) for name, value in reader.counts.items()})
    return counts


def _crops(job: FilmJob, writer: FilmWriter, advance: Advance) -> Counter[str]:
    """Ready-made crops, stretch by stretch."""
    settings = job.settings
    fps = settings.fps or FPS
    counts: Counter[str] = Counter(writer.state["counts"] if writer.state else {})
    crops, misfits = list_crops(job.source.path)
    parts = stretches(crops, fps, settings.join, settings.stretch)
    total = sum(map(len, parts))
    first = writer.state["shot"] if writer.state else 0
    done = sum(map(len, parts[:first]))
    for number, part in enumerate(parts[first:], first):
        instants = []
        for group in part:
            instants.append(read_instant(group, fps, settings.join, settings.max_people, settings.quality, counts))
            done += 1
            advance(done, total)
        stored = finish_shot(job.source.name, number, instants, settings, counts)
        writer.add(stored, {"shot": number + 1, "counts": dict(counts)})
    counts["misfits"] = misfits
    if settings.fps is None:
        counts["assumed_fps"] = int(FPS)
    return counts
