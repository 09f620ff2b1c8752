"""The crops of a place, and what is known of their cameras, as commands are told of them."""

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from passerby.adaptation.base import check_images
from passerby.adaptation.camera import FEWEST_OF_A_CAMERA, CameraStatistics
from passerby.adaptation.crops import read_crops
from passerby.commands.device import torch_device
from passerby.data.datasets.base import IMAGE_SUFFIXES, image_files
from passerby.data.images import Pixels
from passerby.errors import PasserbyError
from passerby.models.load import load
from passerby.models.model import Model


def open_model(model: str | Path, device: str) -> Model:
    """A saved model that can be adapted.

    Raises:
        PasserbyError: for an .onnx file.
    """
    if Path(model).suffix == ".onnx":
        raise PasserbyError(f"{model}: an .onnx file has no norms to adapt; give a saved model")
    loaded = load(model, torch_device(device))
    assert isinstance(loaded, Model)
    return loaded


def crop_paths(folder: Path) -> list[Path]:
    """The image files of a folder and of those in it.

    Raises:
        PasserbyError: when it holds none.
    """
    if not folder.is_dir():
        raise PasserbyError(f"--images {folder}: no such folder")
    paths = image_files(folder, recursive=True)
    if not paths:
        raise PasserbyError(f"--images {folder}: no images in it ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return paths


def open_crops(folder: Path, paths: Sequence[Path], model: Model, progress: bool) -> tuple[Pixels, list[int]]:
    """Pixels of the images of a place, and the places in `paths` of those that can be read; the others are named on stderr.

    Raises:
        PasserbyError: when there is nothing to adapt to, see `check_images`.
    """
    unreadable: list[PasserbyError] = []
    pixels, read = read_crops(paths, model.preprocessing, unreadable.append, progress)
    for error in unreadable[:5]:
        tell(f"left out: {error}")
    if len(unreadable) > 5:
        tell(f"left out: {len(unreadable) - 5} more images that cannot be read")
    if not read:
        raise PasserbyError(f"--images {folder}: none of its {len(paths)} images can be read")
    try:
        check_images(pixels)
    except PasserbyError as error:
        raise PasserbyError(f"--images {folder}: {error}") from error
    return pixels, read


@contextmanager
def working(text: str, progress: bool) -> Iterator[None]:
    """Shows that something is going on, and for how long, where nobody knows how long it will take."""
    columns = TextColumn("{task.description}"), BarColumn(pulse_style="cyan"), TimeElapsedColumn()
    with Progress(*columns, transient=True, disable=not progress) as bar:
        bar.add_task(text, total=None)
        yield


def read_cameras(table: Path, folder: Path, paths: Sequence[Path]) -> list[str | None]:
    """The camera of each image by a table; what does not fit together is told on stderr.

    Raises:
        PasserbyError: when the table lacks a column, names none of the images, or an image with two cameras.
    """
    cameras: list[str | None] = [None] * len(paths)
    strangers = 0
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            missing = {"path", "camera"} - set(reader.fieldnames or ())
            if missing:
                raise PasserbyError(
                    f"--cameras {table}: no column {' and no column '.join(sorted(missing))}; it has "
                    f"{', '.join(reader.fieldnames or ()) or 'none'}"
                )
            own = {path.resolve(): k for k, path in enumerate(paths)}
            own |= {path.absolute(): k for k, path in enumerate(paths)}  # of several links to one file each is itself
            for row in reader:
                name, camera = (row["path"] or "").strip(), (row["camera"] or "").strip() or None
                # A table made on Windows has its own separators.
                ways = [folder / name, folder / name.replace("\\", "/")]
                found = (own.get(place) for way in ways for place in (way.absolute(), way.resolve()))
                k = next((place for place in found if place is not None), None)
                if k is None:
                    strangers += bool(name)
                elif camera is None:
                    continue
                elif cameras[k] not in (None, camera):
                    raise PasserbyError(
                        f"--cameras {table}: {name} stands there with the cameras {cameras[k]} and {camera}; keep one"
                    )
                else:
                    cameras[k] = camera
    except (OSError, RuntimeError) as error:
        raise PasserbyError(
            f"--cameras {table}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error
    except (ValueError, csv.Error) as error:
        raise PasserbyError(f"--cameras {table}: no CSV table ({error})") from error
    if not any(cameras):
        raise PasserbyError(
            f"--cameras {table}: names none of the {len(paths)} images in {folder}; its paths are relative to that folder"
        )
    if strangers:
        tell(f"--cameras {table}: {strangers} rows name no image in {folder}")
    if unnamed := cameras.count(None):
        tell(
            f"--cameras {table}: {unnamed} of {len(paths)} images have no camera there; those of all images normalise them"
        )
    return cameras


def tell_unknown(cameras: Sequence[str | None], known: CameraStatistics) -> None:
    """Names on stderr the cameras that have no statistics of their own."""
    unknown = sorted({camera for camera in cameras if camera is not None} - set(known.cameras))
    if unknown:
        tell(
            f"cameras without statistics of their own ({FEWEST_OF_A_CAMERA} images of a camera make them), so those of all images "
            f"normalise: {', '.join(unknown[:10])}{', ...' if len(unknown) > 10 else ''}"
        )


def tell(text: str) -> None:
    """Says something on stderr that is no error."""
    print(f"passerby: {text}", file=sys.stderr)
