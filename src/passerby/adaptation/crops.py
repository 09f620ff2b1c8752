"""The unlabelled images of a place, decoded once."""

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from passerby.data.images import Pixels, Preprocessing
from passerby.errors import PasserbyError

_READ = 256
_IN_MEMORY_BYTES = 2**29
"""More than this lies in a temporary file, which the system keeps in memory as far as there is room."""


def read_crops(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    skip: Callable[[PasserbyError], None] | None = None,
    progress: bool = False,
) -> tuple[Pixels, list[int]]:
    """Decodes images to the model's size.

    Args:
        paths: image files.
        preprocessing: of the model.
        skip: told of each image that cannot be read, which is then left out; None: the first such image is an error.
        progress: show a bar.

    Returns:
        uint8 [N, H, W, 3], and the places in `paths` of those that were read.

    Raises:
        PasserbyError: for an unreadable image, where `skip` is None; when a temporary file finds no room.
    """
    pixels = _room_for(len(paths), (preprocessing.height, preprocessing.width, 3))
    read: list[int] = []
    starts = range(0, len(paths), _READ)
    for start in track(starts, "reading", transient=True, disable=not progress):
        batch = paths[start : start + _READ]
        try:
            images, kept = preprocessing.read_many(batch), list(range(len(batch)))
        except PasserbyError:
            if skip is None:
                raise
            images, kept = _one_by_one(batch, preprocessing, skip)
        pixels[len(read) : len(read) + len(kept)] = images
        read += [start + k for k in kept]
    return pixels[: len(read)], read


def crops_at(pixels: Pixels, rows: Sequence[int]) -> Pixels:
    """Some of the images, in this order; like all of them they lie in a file where they are many."""
    chosen = _room_for(len(rows), pixels.shape[1:])
    for start in range(0, len(rows), _READ):
        chosen[start : start + _READ] = pixels[list(rows[start : start + _READ])]
    return chosen


def _room_for(images: int, shape: tuple[int, ...]) -> Pixels:
    size = images * math.prod(shape)
    if size <= _IN_MEMORY_BYTES:
        return np.empty((images, *shape), np.uint8)
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # else a disk that fills up later would kill the process
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.uint8, "w+", shape=(images, *shape))
    except OSError as error:
        raise PasserbyError(
            f"{tempfile.gettempdir()}: no room for {size / 2**20:.0f} MiB of pixels ({error.strerror}); free some, or set TMPDIR to a "
            "folder with room"
        ) from error


def _one_by_one(
    paths: Sequence[Path], preprocessing: Preprocessing, skip: Callable[[PasserbyError], None]
) -> tuple[Pixels, list[int]]:
    images, kept = [], []
    for k, path in enumerate(paths):
        try:
            images.append(preprocessing.read(path))
            kept.append(k)
        except PasserbyError as error:
            skip(error)
    return np.stack(images) if images else np.empty((0, preprocessing.height, preprocessing.width, 3), np.uint8), kept
