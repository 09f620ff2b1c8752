"""passerby adapt: a site profile from unlabelled crops of a place."""

import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from passerby.adaptation import CameraStatistics, SiteProfile, parse_adaptation
from passerby.adaptation.base import wearing
from passerby.adaptation.crops import read_crops
from passerby.adaptation.profile import ProfileCard
from passerby.commands.device import torch_device
from passerby.data.datasets.base import image_files
from passerby.data.images import Pixels
from passerby.errors import PasserbyError
from passerby.models.load import load
from passerby.models.model import Model
from passerby.models.saved import code_version


def adapt(
    model: str | Path,
    images: str | Path,
    out: str | Path | None = None,
    *,
    cameras: str | Path | None = None,
    method: str | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
) -> SiteProfile:
    """Adapts a saved model to a place, without labels.

    Args:
        model: a saved model or a run's folder.
        images: folder of person crops of the place, subfolders included. What cannot be read is named and left out.
        out: where the profile goes (.safetensors); None: nowhere.
        cameras: a CSV table with the columns `path` (relative to `images`, or absolute) and `camera`; images that it does
            not name belong to no camera. None: no camera normalisation.
        method: `adabn`, `bnta` or `entropy`, with parameters as `parse_adaptation` reads them, or `none` (camera statistics
            alone); None: bnta where the model has part heads, else adabn.
        seed: fixes the order of the images.
        device: `auto`, `cpu`, `gpu` or `mps`.
        progress: show bars.

    Raises:
        PasserbyError: for bad input; nothing is written then.
    """
    if out is not None and Path(out).suffix != ".safetensors":
        raise PasserbyError(f"--out {out}: a site profile is a .safetensors file; give a name that ends so")
    loaded = open_model(model, device)
    paths, pixels = open_crops(Path(images), loaded, progress)
    named = None if cameras is None else _read_cameras(Path(cameras), Path(images), paths)
    chosen = method or ("bnta" if loaded.parts is not None else "adabn")
    if chosen == "none" and named is None:
        raise PasserbyError("--method none: without --cameras there is nothing to make a profile of")
    adaptation = None if chosen == "none" else parse_adaptation(chosen)
    tensors = {} if adaptation is None else adaptation.adapt(loaded, pixels, seed)
    before = {} if adaptation is None else adaptation.look(loaded, pixels)
    with wearing(loaded, tensors):
        after = {} if adaptation is None else adaptation.look(loaded, pixels)
        embeddings = None if named is None else loaded.embed(pixels, progress=progress)
    statistics = None if named is None or embeddings is None else CameraStatistics.of(embeddings, named)
    assert loaded.weights_sha256 is not None
    card = ProfileCard(
        model_sha256=loaded.weights_sha256,
        method=chosen.partition(":")[0],
        settings={} if adaptation is None else adaptation.model_dump(mode="json"),
        images=len(pixels),
        cameras=() if statistics is None else statistics.cameras,
        seed=seed,
        before=before,
        after=after,
        code_version=code_version(),
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
    )
    profile = SiteProfile(card, tensors, statistics)
    if out is not None:
        profile.save(out)
    return profile


def show_profile(profile: SiteProfile, out: Path) -> None:
    """Says in a few lines what a profile holds."""
    card = profile.card
    console = Console()
    changed = f"{len(profile.tensors)} tensors changed" if profile.tensors else "no tensor changed"
    console.print(f"{card.method} on {card.images} images: {changed}", highlight=False)
    for name, value in card.before.items():
        console.print(f"  {name}: {value:.3f} -> {card.after[name]:.3f}", highlight=False)
    if card.cameras:
        console.print(f"  embeddings of {len(card.cameras) - 1} cameras normalised", highlight=False)
    console.print(f"site profile: {out} ({out.stat().st_size / 1e6:.1f} MB)", highlight=False, soft_wrap=True)


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


def open_crops(folder: Path, model: Model, progress: bool) -> tuple[list[Path], Pixels]:
    """The readable images of a folder, and their pixels; those that are not are named on stderr.

    Raises:
        PasserbyError: when the folder holds none.
    """
    if not folder.is_dir():
        raise PasserbyError(f"--images {folder}: no such folder")
    paths = image_files(folder, recursive=True)
    if not paths:
        raise PasserbyError(f"--images {folder}: no images in it")
    unreadable: list[PasserbyError] = []
    pixels, read = read_crops(paths, model.preprocessing, unreadable.append, progress)
    for error in unreadable[:5]:
        print(f"passerby: left out: {error}", file=sys.stderr)
    if len(unreadable) > 5:
        print(f"passerby: left out: {len(unreadable) - 5} more images that cannot be read", file=sys.stderr)
    if not read:
        raise PasserbyError(f"--images {folder}: none of its {len(paths)} images can be read")
    return [paths[k] for k in read], pixels


def _read_cameras(table: Path, folder: Path, paths: Sequence[Path]) -> list[str | None]:
    """The camera of each image by a table.

    Raises:
        PasserbyError: when the table lacks a column, or names none of the images.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = {"path", "camera"} - set(reader.fieldnames or ())
            if missing:
                raise PasserbyError(
                    f"--cameras {table}: no column {' and no column '.join(sorted(missing))}; it has "
                    f"{', '.join(reader.fieldnames or ()) or 'none'}"
                )
            named = {
                (folder / row["path"]).resolve(): (row["camera"] or "").strip() or None for row in reader if row["path"]
            }
    except OSError as error:
        raise PasserbyError(f"--cameras {table}: cannot be read ({error.strerror})") from error
    except (ValueError, csv.Error) as error:
        raise PasserbyError(f"--cameras {table}: no CSV table ({error})") from error
    cameras = [named.get(path.resolve()) for path in paths]
    if not any(cameras):
        raise PasserbyError(
            f"--cameras {table}: names none of the {len(paths)} images in {folder}; its paths are relative to that folder"
        )
    return cameras
