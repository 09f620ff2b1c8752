"""Writes synthetic domains to disk in the layout of Market-1501, so that every tool that reads it reads them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from passerby.data.synthetic.catalogue import find_domain
from passerby.data.synthetic.dataset import SyntheticDomain
from passerby.data.synthetic.domain import Domain
from passerby.data.synthetic.draws import Draws, Ints
from passerby.errors import PasserbyError
from passerby.files import atomic_folder

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"

_CHUNK = 256


def write_market(
    out: Path,
    domains: Sequence[Domain | str],
    identities: int,
    seed: int = 0,
    images_per_camera: int = 4,
    size: tuple[int, int] = (128, 64),
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Writes one folder a domain: `OUT/<domain>/bounding_box_train`, `query` and `bounding_box_test`.

    The first half of the identities (the smaller one when odd) trains, the rest tests. One random picture of each test
    identity and camera is a query, the others are the gallery. Names are those of Market-1501:
    `0002_c1s1_000451_00.jpg` is identity 2, camera 1, sequence 1, frame 451, box 0.

    Args:
        out: folder to write to; made when it is not there.
        domains: domains, or names of built-in ones.
        identities: of each domain, train and test together, 2 to 9999.
        seed: of everything.
        images_per_camera: pictures of a person by each camera that sees the person, at least 2.
        size: height and width of the pictures, pixels.
        workers: threads; by default as many as there are processors.
        progress: shows a bar on the terminal.

    Raises:
        PasserbyError: for numbers out of range, an unknown or repeated domain, or a folder that is in the way.
    """
    if not 2 <= identities <= 9999:
        raise PasserbyError(
            f"identities={identities} to write: must be 2 to 9999 (one half trains, and Market names have four digits)"
        )
    if images_per_camera < 2:
        raise PasserbyError(
            f"images_per_camera={images_per_camera} to write: must be at least 2, for query and gallery"
        )
    chosen = [find_domain(d) if isinstance(d, str) else d for d in domains]
    names = [d.name for d in chosen]
    if not chosen or len(set(names)) < len(names):
        raise PasserbyError(f"domains to write: {', '.join(names) or 'none'}; name at least one, and each once")
    if out.exists() and not out.is_dir():
        raise PasserbyError(f"{out}: is a file; choose a folder to write to")
    for name in names:
        if (out / name).exists():
            raise PasserbyError(f"{out / name}: is already there; remove it or choose another folder")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not progress) as bar:
        for domain in chosen:
            data = SyntheticDomain(domain, identities, images_per_camera=images_per_camera, seed=seed, size=size)
            files = market_names(data)
            task = bar.add_task(domain.name, total=len(data))
            with atomic_folder(out / domain.name) as folder:
                for part in (TRAIN, QUERY, GALLERY):
                    (folder / part).mkdir()
                for start in range(0, len(data), _CHUNK):
                    index = np.arange(start, min(start + _CHUNK, len(data)))
                    images = data.render(index, workers or os.cpu_count() or 1)
                    for i, image in zip(index, images, strict=True):
                        Image.fromarray(image).save(folder / files[i], quality=95, subsampling=0)
                    bar.update(task, advance=len(index))


def market_names(data: SyntheticDomain) -> list[str]:
    """Part and name of each picture in Market-1501's layout, such as `query/0002_c1s1_000451_00.jpg`."""
    identities = len(data.people)
    test = data.identity >= identities // 2
    query = test & _one_of_each(data)
    part = np.where(test, np.where(query, QUERY, GALLERY), TRAIN)
    # A camera counts its frames; the people whom it sees come one after the other.
    frame = np.zeros(len(data), np.int64)
    for camera in range(data.domain.cameras):
        own = data.camera == camera
        frame[own] = 1 + 25 * np.arange(own.sum())
    return [
        f"{p}/{identity + 1:04d}_c{camera + 1}s1_{f:06d}_00.jpg"
        for p, identity, camera, f in zip(part, data.identity, data.camera, frame, strict=True)
    ]


def _one_of_each(data: SyntheticDomain) -> NDArray[np.bool_]:
    """[M] true for one random picture of each identity and camera."""
    luck = Draws(data.seed, f"query/{data.domain.name}", np.arange(len(data))).unit()
    order: Ints = np.lexsort((luck, data.camera, data.identity))
    pair = data.identity[order] * 16 + data.camera[order]
    first = np.ones(len(data), np.bool_)
    first[1:] = pair[1:] != pair[:-1]
    chosen = np.zeros(len(data), np.bool_)
    chosen[order[first]] = True
    return chosen
