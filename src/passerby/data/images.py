"""From image files to tensors: the one road that training, evaluation, search and export share."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from passerby.errors import PasserbyError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


class Preprocessing(BaseModel):
    """How an image becomes network input: RGB, resized (bilinear, antialiased), scaled to [0, 1], (x - mean) / std."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    bgr: bool = False
    """The network expects its channels as blue, green, red (some exported models do)."""

    @model_validator(mode="after")
    def _deviations_are_positive(self) -> Self:
        if min(self.std) <= 0:
            raise ValueError("std must be positive")
        return self

    def resize(self, image: Image.Image) -> Pixels:
        """A PIL image of any mode and size as uint8 [H, W, 3], RGB."""
        if image.mode != "RGB":
            image = image.convert("RGB")
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        return np.asarray(image)

    def read(self, path: Path) -> Pixels:
        """An image file as uint8 [H, W, 3], RGB.

        Raises:
            PasserbyError: when the file is missing, empty, truncated or no image.
        """
        return self.resize(open_image(path))

    def read_many(self, paths: Sequence[Path], threads: int = 4) -> Pixels:
        """Several image files as uint8 [N, H, W, 3], decoded by a few threads (Pillow lets go of the GIL)."""
        with ThreadPoolExecutor(threads) as pool:
            images = list(pool.map(self.read, paths))
        return np.stack(images) if images else np.empty((0, self.height, self.width, 3), np.uint8)

    def normalise(self, images: Tensor) -> Tensor:
        """Pixels to network input.

        Args:
            images: [N, 3, H, W], RGB, in [0, 255], uint8 or float.

        Returns:
            float32 [N, 3, H, W] in the memory format of `images`.
        """
        mean = torch.tensor(self.mean, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, 3, 1, 1)
        if self.bgr:
            images, mean, std = images.flip(1), mean.flip(1), std.flip(1)
        return (images.float() - 255 * mean) / (255 * std)


def open_image(path: Path) -> Image.Image:
    """An image file, decoded, in RGB.

    Pixels are taken as they are stored: an orientation tag (EXIF) is not heeded, and transparency is dropped.

    Raises:
        PasserbyError: when the file is missing, empty, truncated, no image, or of pixels whose white is not known.
    """
    try:
        with Image.open(path) as image:
            return _eight_bit(image).convert("RGB")
    except FileNotFoundError as error:
        raise PasserbyError(f"{path}: no such image file") from error
    except Exception as error:  # Pillow's decoders raise errors of many types on damaged bytes
        raise PasserbyError(
            f"{path}: cannot be read as an image ({_reason(path, error)}); remove or mend it"
        ) from error


def to_tensor(images: Pixels) -> Tensor:
    """uint8 [N, H, W, 3] as a tensor [N, 3, H, W] in channels_last, without a copy."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 bits scaled to 8 (Pillow's own conversion would cut it off at 255, to white); other images as they are."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return Image.fromarray((np.asarray(image).astype(np.uint32) * 255 // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32-bit grey says nothing of its white; save it with 8 or 16 bits")
    return image


def _reason(path: Path, error: Exception) -> str:
    if path.is_dir():
        return "it is a folder"
    if isinstance(error, UnidentifiedImageError):
        return "no image format known to Pillow" if path.stat().st_size else "the file is empty"
    return " ".join(str(error).split()) or type(error).__name__
