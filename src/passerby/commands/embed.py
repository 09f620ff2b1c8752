"""passerby embed: every image of a folder as one row."""

from pathlib import Path

import numpy as np

from passerby.adaptation import SiteProfile
from passerby.commands.adapted import look_as, parse_unknown
from passerby.commands.device import torch_device
from passerby.commands.place import crop_paths, read_cameras, tell, tell_unknown
from passerby.errors import PasserbyError
from passerby.files import atomic_file
from passerby.models.load import load
from passerby.models.onnx import OnnxCard


def embed(
    model: Path,
    images: Path,
    out: Path,
    flip: bool,
    device: str,
    onnx_card: OnnxCard | None = None,
    *,
    site: Path | None = None,
    cameras: Path | None = None,
    unknown: str | None = None,
) -> None:
    """Writes `paths` [N] (relative to `images`) and `embeddings` [N, D] float32 as .npz.

    Args:
        model: a saved model, a run's folder or an .onnx file.
        images: folder of person crops.
        out: the .npz file.
        flip: average the embeddings of an image and its mirror image.
        device: `auto`, `cpu`, `gpu` or `mps`.
        onnx_card: what the input of an .onnx embedder looks like.
        site: a site profile that the model wears; embeddings are normalised by camera where it knows cameras.
        cameras: see `read_cameras`; an image without one is normalised by all images of the profile.
        unknown: how a model with domain norms looks at images of unknown domain; None: as it was trained to.

    Raises:
        PasserbyError: when the folder holds no images, or one cannot be read; for a profile of another model, and a way to look that
            the model has not.
    """
    if out.suffix != ".npz":
        raise PasserbyError(f"--out {out}: embeddings are written as .npz; give a name that ends in .npz")
    asked = parse_unknown(unknown)
    profile = None if site is None else SiteProfile.load(site)
    if cameras is not None and (profile is None or profile.cameras is None):
        raise PasserbyError(
            "--cameras: only a site profile that was made with cameras knows what to do with them; see --site"
        )
    paths = crop_paths(images)
    named = [None] * len(paths) if cameras is None else read_cameras(cameras, images, paths)
    if profile is not None and profile.cameras is not None:
        tell_unknown(named, profile.cameras)
        if cameras is None:
            tell(
                "--site: the profile knows cameras, and nothing says whose the images are (--cameras): those of all images normalise"
            )
    embedder = load(model, torch_device(device), onnx_card)
    look_as(embedder, asked)
    if profile is None:
        embeddings = embedder.embed(paths, flip=flip, progress=True)
    else:
        with profile.on(embedder):
            embeddings = profile.normalise(embedder.embed(paths, flip=flip, progress=True), named)
    with atomic_file(out) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream, paths=np.array([p.relative_to(images).as_posix() for p in paths]), embeddings=embeddings.numpy()
        )
    print(f"{len(paths)} images, {embeddings.shape[1]} dimensions: {out}")
