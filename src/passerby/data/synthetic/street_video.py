"""Writes street scenes to disk in the layout of MOTChallenge, as films or as frames.

    OUT/street-00/seqinfo.ini
    OUT/street-00/film.mp4          or img1/000001.jpg ...
    OUT/street-00/gt/gt.txt         frame, person, left, top, width, height, 1, 1, visible

Frames and people count from 1, as there.
"""

import configparser
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from passerby.data.synthetic.domain import Domain, shifted_domain
from passerby.data.synthetic.street import Box, StreetFilm, StreetFrame
from passerby.errors import PasserbyError
from passerby.extras import import_extra
from passerby.files import atomic_folder
from passerby.seeding import derived_seed

VIDEO = "film.mp4"


def street_domain(film: int, seed: int) -> Domain:
    """The place of a film: each one far from the neutral place, in a direction of its own."""
    return shifted_domain(1.0, derived_seed(seed, film) % 2**31)


def write_street(
    out: Path,
    films: int,
    seed: int = 0,
    *,
    shots: int = 2,
    seconds: float = 30.0,
    fps: float = 10.0,
    people: float = 10.0,
    size: tuple[int, int] = (360, 640),
    as_frames: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """Writes films of street scenes, each of a place of its own.

    Args:
        out: folder to write to; made when it is not there.
        films: how many.
        seed: of everything.
        shots: of each film; shot s is of camera s of the place.
        seconds: length of each shot.
        fps: frames a second.
        people: seen at a time, on average.
        size: height and width of the frames, pixels.
        as_frames: JPEG files instead of a film.
        workers: films rendered at a time; by default as many as there are processors.
        progress: shows a bar on the terminal.

    Returns:
        the folder of each film.

    Raises:
        PasserbyError: for numbers out of range, or a folder that is in the way.
    """
    if films < 1:
        raise PasserbyError(f"films={films}: must be at least 1")
    if not as_frames:
        import_extra("av", "video")
    folders = [out / f"street-{film:02d}" for film in range(films)]
    for folder in folders:
        if folder.exists():
            raise PasserbyError(f"{folder}: is already there; remove it or choose another folder")
    scenes = [
        StreetFilm(street_domain(film, seed), film, shots=shots, seconds=seconds, fps=fps, people=people, size=size)
        for film in range(films)
    ]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not progress) as bar, ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        task = bar.add_task("frames", total=sum(map(len, scenes)))
        jobs = [
            pool.submit(_write_film, folder, scene, as_frames, lambda: bar.advance(task))
            for folder, scene in zip(folders, scenes, strict=True)
        ]
        try:
            for job in jobs:
                job.result()
        except BaseException:  # leaving would draw all the others first
            pool.shutdown(cancel_futures=True)
            raise
    return folders


def _write_film(folder: Path, film: StreetFilm, as_frames: bool, advance: Callable[[], None]) -> None:
    """Writes one film; it appears under its name when it is whole."""
    with atomic_folder(folder) as temporary:
        (temporary / "gt").mkdir()
        with (temporary / "gt" / "gt.txt").open("w") as truth:

            def told() -> Iterator[StreetFrame]:
                for number, frame in enumerate(film.frames(), 1):
                    truth.writelines(_line(number, box) for box in frame.boxes)
                    advance()
                    yield frame

            if as_frames:
                (temporary / "img1").mkdir()
                for number, frame in enumerate(told(), 1):
                    path = temporary / "img1" / f"{number:06d}.jpg"
                    Image.fromarray(frame.image).save(path, quality=92)
            else:
                encode(temporary / VIDEO, told(), film.size, film.fps)
        _write_info(temporary / "seqinfo.ini", folder.name, film, as_frames)


def encode(path: Path, frames: Iterator[StreetFrame], size: tuple[int, int], fps: float) -> None:
    """Writes frames as MPEG-4 Visual, an old codec that every build of FFmpeg holds and that costs little."""
    av: Any = import_extra("av", "video")
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.options = {"qscale": "3"}
        stream.codec_context.qmin, stream.codec_context.qmax = 2, 4
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode())


def _line(frame: int, box: Box) -> str:
    """A line of gt.txt: a person (class 1) that counts (1)."""
    width, height = box.right - box.left, box.bottom - box.top
    return f"{frame},{box.person + 1},{box.left + 1},{box.top + 1},{width},{height},1,1,{box.visible:.3f}\n"


def _write_info(path: Path, name: str, film: StreetFilm, as_frames: bool) -> None:
    """seqinfo.ini as MOTChallenge writes it; `video` is ours."""
    info = configparser.ConfigParser()
    info.optionxform = str  # type: ignore[assignment,method-assign]
    where = {"imDir": "img1", "imExt": ".jpg"} if as_frames else {"video": VIDEO}
    info["Sequence"] = {
        "name": name,
        **where,
        "frameRate": f"{film.fps:g}",
        "seqLength": str(len(film)),
        "imWidth": str(film.size[1]),
        "imHeight": str(film.size[0]),
    }
    with path.open("w") as stream:
        info.write(stream, space_around_delimiters=False)
