"""Every image decoded and resized once, kept as one memory-mapped array outside the repository."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from passerby.data.images import Pixels, Preprocessing
from passerby.errors import PasserbyError
from passerby.files import atomic_file, write_text

CHUNK = 512


def cache_folder() -> Path:
    """Where caches live: $PASSERBY_CACHE, or passerby/ in the user's cache folder."""
    if "PASSERBY_CACHE" in os.environ:
        return Path(os.environ["PASSERBY_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "passerby"


@dataclass(frozen=True)
class ImageCache:
    """The images of one dataset at one size.

    Attributes:
        images: memory-mapped uint8 [N, H, W, 3], RGB, in the order of the paths that it was opened with.
        bad: rows whose image could not be read (they hold zeros), with the reason.
    """

    images: Pixels
    bad: dict[int, str]


def open_cache(
    name: str, paths: Sequence[Path], preprocessing: Preprocessing, folder: Path | None = None
) -> ImageCache:
    """Opens the cache of `paths`, decoding them first where no cache of exactly these files exists.

    The cache is keyed by name, size and each file's path, length and modification time, so a changed file is decoded
    anew. Unreadable images never stop it: they are listed in `bad`.

    Args:
        name: dataset, part of the cache's file name.
        paths: image files.
        preprocessing: gives the size; normalisation happens later.
        folder: where the cache lives; default `cache_folder()`.

    Raises:
        PasserbyError: when no file can be read, or the disk is full.
    """
    folder = cache_folder() if folder is None else folder
    height, width = preprocessing.height, preprocessing.width
    stem = f"{name.replace('/', '_')}-{height}x{width}-{_fingerprint(paths)}"
    data, listing = folder / f"{stem}.bin", folder / f"{stem}.json"
    shape = (len(paths), height, width, 3)
    if not (listing.exists() and data.exists() and data.stat().st_size == int(np.prod(shape))):
        try:
            bad = _decode(name, paths, preprocessing, data)
            write_text(listing, json.dumps({str(row): bad[row] for row in sorted(bad)}))
        except OSError as error:
            raise PasserbyError(
                f"{data}: the image cache cannot be written ({error}); free {np.prod(shape) / 2**20:.0f} MiB there "
                "or set PASSERBY_CACHE to a folder with room"
            ) from error
    bad = {int(row): reason for row, reason in json.loads(listing.read_text()).items()}
    if len(bad) == len(paths):
        raise PasserbyError(
            f"{name}: none of its {len(paths)} images can be read; the first: {bad.get(0, 'no images')}"
        )
    return ImageCache(np.memmap(data, np.uint8, "r", shape=shape), bad)


def _decode(name: str, paths: Sequence[Path], preprocessing: Preprocessing, data: Path) -> dict[int, str]:
    bad: dict[int, str] = {}

    def read(row: int) -> Pixels:
        try:
            return preprocessing.read(paths[row])
        except PasserbyError as error:
            bad[row] = str(error)
            return np.zeros((preprocessing.height, preprocessing.width, 3), np.uint8)

    with atomic_file(data) as temporary, temporary.open("wb") as stream, ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = range(0, len(paths), CHUNK)
        for start in track(chunks, f"decoding {name}", transient=True, disable=len(paths) < 2 * CHUNK):
            for pixels in pool.map(read, range(start, min(start + CHUNK, len(paths)))):
                stream.write(np.ascontiguousarray(pixels).data)
    return bad


def _fingerprint(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            facts = path.stat()
            digest.update(f"{path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{path}\0missing\n".encode())
    return digest.hexdigest()[:16]
