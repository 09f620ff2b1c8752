"""passerby adapt: a site profile from unlabelled crops of a place."""

import math
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from torch import Tensor

from passerby.adaptation import AdaBn, Adaptation, BntaAdaptation, CameraStatistics, SiteProfile, parse_adaptation
from passerby.adaptation.base import wearing
from passerby.adaptation.profile import ProfileCard
from passerby.adaptation.shift import looked_at, norm_shift, place_distance
from passerby.commands.adapted import look_as, parse_unknown
from passerby.commands.place import crop_paths, open_crops, open_model, read_cameras, tell_unknown, working
from passerby.data.images import Pixels
from passerby.errors import PasserbyError
from passerby.files import check_writable
from passerby.models.model import Model
from passerby.models.saved import code_version

ASTRAY = 3.0
"""A loss or distance that is so many times what it was says that adapting did harm."""


def adapt(
    model: str | Path,
    images: str | Path,
    out: str | Path | None = None,
    *,
    cameras: str | Path | None = None,
    method: str | None = None,
    unknown: str | None = None,
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
        unknown: how a model with domain norms looks at images of unknown domain; None: as it was trained to. Who wears the profile has
            to look alike.
        seed: fixes which images are drawn, and their order.
        device: `auto`, `cpu`, `gpu` or `mps`.
        progress: show bars.

    Raises:
        PasserbyError: for bad input; nothing is written then.
    """
    if out is not None and (Path(out).suffix != ".safetensors" or Path(out).is_dir()):
        raise PasserbyError(f"--out {out}: a site profile is a .safetensors file; give a name that ends so")
    check_writable(out)
    if method == "none" and cameras is None:
        raise PasserbyError("--method none: without --cameras there is nothing to make a profile of")
    adaptation = None if method in (None, "none") else parse_adaptation(method)
    asked = parse_unknown(unknown)
    loaded = open_model(model, device)
    looked = look_as(loaded, asked)
    if method is None:
        adaptation = AdaBn() if loaded.parts is None else BntaAdaptation()
    if adaptation is not None:
        adaptation.check(loaded)
    paths = crop_paths(Path(images))
    named = [None] * len(paths) if cameras is None else read_cameras(Path(cameras), Path(images), paths)
    pixels, read = open_crops(Path(images), paths, loaded, progress)
    seen = pixels if adaptation is None else adaptation.drawn(pixels, seed)
    tensors: dict[str, Tensor] = {}
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    if adaptation is not None:
        with working(f"adapting by {adaptation.name}", progress):
            before = _said(adaptation, loaded, seen)
            tensors = adaptation.adapt(loaded, seen, seed)
            with wearing(loaded, tensors):
                after = _said(adaptation, loaded, seen)
    statistics = None
    if cameras is not None:
        with wearing(loaded, tensors):
            embeddings = loaded.embed(pixels, progress=progress)
        named = [named[k] for k in read]
        statistics = CameraStatistics.of(embeddings, named)
        tell_unknown(named, statistics)
    assert loaded.weights_sha256 is not None
    card = ProfileCard(
        model_sha256=loaded.weights_sha256,
        method="none" if adaptation is None else adaptation.name,
        settings={} if adaptation is None else adaptation.settings(len(seen)),
        images=len(seen),
        unknown=looked,
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


def _said(adaptation: Adaptation, model: Model, images: Pixels) -> dict[str, float]:
    """What a profile's card says of the images; some of them tell the distance.

    Raises:
        PasserbyError: for a loss that is not finite.
    """
    said = {"distance": place_distance(norm_shift(model, looked_at(images))), **adaptation.look(model, images)}
    for name, value in said.items():
        if not math.isfinite(value):
            raise PasserbyError(
                f"{adaptation.name}: {name} is {value} on these images; lower the learning rate, or look at them"
            )
    return said


def show_profile(profile: SiteProfile, out: Path) -> None:
    """Says in a few lines what a profile holds."""
    card = profile.card
    console = Console()
    held = f"{len(profile.tensors)} tensors of the model" if profile.tensors else "no tensor of the model"
    console.print(f"{card.method} on {card.images} images: {held}", highlight=False, soft_wrap=True)
    for name, value in card.before.items():
        console.print(f"  {name}: {value:.3f} -> {card.after[name]:.3f}", highlight=False)
    if astray := [name for name, value in card.before.items() if card.after[name] > ASTRAY * value]:
        console.print(
            f"  {', '.join(astray)} rose more than {ASTRAY:g} times: adapting went astray; lower its learning rate, or look at the images",
            style="yellow",
            soft_wrap=True,
        )
    if card.cameras:
        console.print(f"  embeddings of {len(card.cameras) - 1} cameras normalised", highlight=False)
    console.print(f"site profile: {out} ({out.stat().st_size / 1e6:.1f} MB)", highlight=False, soft_wrap=True)
