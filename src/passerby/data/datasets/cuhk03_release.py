"""The release file of CUHK03, cuhk-03.mat (HDF5): images as arrays behind references, and twenty classic test sets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from passerby.errors import PasserbyError
from passerby.files import atomic_folder

BOXES = ("labeled", "detected")
"""The two kinds of boxes, as the release names them."""

IMAGES_A_VIEW = 5
"""Cells of one person: five of the first view, then five of the second; some are empty."""


def extract_images(release: Path, boxes: str, folder: Path) -> Path:
    """Writes the images of one kind of boxes as `1_001_1_01.png` (camera pair, person, view, cell), lossless.

    Args:
        release: the file cuhk-03.mat.
        boxes: `labeled` or `detected`.
        folder: appears when all images are written, or not at all.

    Returns:
        `folder`.

    Raises:
        PasserbyError: when the file is missing or is not CUHK03's release.
    """
    with atomic_folder(folder) as temporary:
        for name, image in read_images(release, boxes):
            Image.fromarray(image).save(temporary / name)
    return folder


def read_images(release: Path, boxes: str) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Name and image [H, W, 3] of every cell of the release that is not empty.

    Raises:
        PasserbyError: when the file is missing or is not CUHK03's release.
    """
    with open_release(release) as file:
        for pair, pair_reference in enumerate(file[boxes][0], start=1):
            people = file[pair_reference][:].T  # [people, 10] references
            progress = track(people, f"cuhk03 {boxes}, pair {pair}", console=Console(stderr=True), transient=True)
            for person, cells in enumerate(progress, start=1):
                for cell, reference in enumerate(cells, start=1):
                    image = file[reference][:].T
                    if image.ndim == 3:
                        view = 1 if cell <= IMAGES_A_VIEW else 2
                        yield f"{pair}_{person:03d}_{view}_{cell:02d}.png", np.ascontiguousarray(image)


def classic_test_sets(release: Path) -> tuple[tuple[int, ...], ...]:
    """The twenty classic test sets (Li et al., CVPR 2014): 100 identities each, numbered as `Cuhk03` does.

    Raises:
        PasserbyError: when the file is missing or is not CUHK03's release.
    """
    with open_release(release) as file:
        return tuple(
            tuple(1_000 * int(pair) + int(person) for pair, person in file[reference][:].T)
            for reference in file["testsets"][0]
        )


@contextmanager
def open_release(release: Path) -> Iterator[Any]:
    """Opens cuhk-03.mat, and says what is wrong when it is missing, damaged or something else."""
    import h5py

    if not release.is_file():
        raise PasserbyError(f"cuhk03: no file {release}; unpack cuhk03_release.zip there")
    try:
        with h5py.File(release, "r") as file:
            yield file
    except (OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise PasserbyError(f"cuhk03: {release} is not CUHK03's release ({reason}); download it again") from error
