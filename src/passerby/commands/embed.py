"""passerby embed: every image of a folder as one row."""

from pathlib import Path

import numpy as np

from passerby.commands.device import torch_device
from passerby.data.datasets.base import image_files
from passerby.errors import PasserbyError
from passerby.files import atomic_file
from passerby.models.load import load
from passerby.models.onnx import OnnxCard


def embed(model: Path, images: Path, out: Path, flip: bool, device: str, onnx_card: OnnxCard | None = None) -> None:
    """Writes `paths` [N] (relative to `images`) and `embeddings` [N, D] float32 as .npz.

    Raises:
        PasserbyError: when the folder holds no images, or one cannot be read.
    """
    if out.suffix != ".npz":
        raise PasserbyError(f"--out {out}: embeddings are written as .npz; give a name that ends in .npz")
    if not images.is_dir():
        raise PasserbyError(f"--images {images}: no such folder")
    paths = image_files(images, recursive=True)
    if not paths:
        raise PasserbyError(f"--images {images}: no images in it")
    embeddings = load(model, torch_device(device), onnx_card).embed(paths, flip=flip, progress=True)
    with atomic_file(out) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream, paths=np.array([p.relative_to(images).as_posix() for p in paths]), embeddings=embeddings.numpy()
        )
    print(f"{len(paths)} images, {embeddings.shape[1]} dimensions: {out}")
