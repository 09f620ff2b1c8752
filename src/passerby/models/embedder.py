"""The one inference path: evaluation, search, service and export all turn images into features here."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.progress import track
from torch import Tensor

from passerby.data.images import Preprocessing, open_image, to_tensor
from passerby.errors import PasserbyError

BATCH = 64


class Detections(Protocol):
    """Anything with boxes, supervision's Detections for one."""

    @property
    def xyxy(self) -> np.ndarray:
        """[N, 4] left, top, right, bottom in pixels."""
        ...


class Embedder(ABC):
    """Turns people's images into comparable embeddings; it knows its own preprocessing."""

    preprocessing: Preprocessing

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where batches have to be."""

    @abstractmethod
    def embed_batch(self, pixels: Tensor) -> Tensor:
        """Raw embeddings [N, D] of a batch of pixels [N, 3, H, W] (RGB, 0 to 255, the network's size)."""

    def embed(
        self,
        images: Sequence[str | Path] | Sequence[np.ndarray] | np.ndarray | Tensor | str | Path,
        boxes: Detections | np.ndarray | None = None,
        *,
        flip: bool = False,
        batch_size: int = BATCH,
        progress: bool = False,
    ) -> Tensor:
        """Embeddings of images.

        Args:
            images: one of: paths; RGB arrays, uint8 [h, w, 3], of any sizes; one array or tensor of images, uint8 [N,
                h, w, 3] or [N, 3, h, w], or float in [0, 1]; or, with `boxes`, one frame (a path or an uint8 array [h,
                w, 3]).
            boxes: [N, 4] left, top, right, bottom in pixels of the frame, or an object with such an `xyxy`.
            flip: average the embeddings of each image and its mirror image.
            batch_size: images at a time.
            progress: show a bar.

        Returns:
            float32 [N, D] on the CPU, each row of length 1.

        Raises:
            PasserbyError: for unreadable images, and arrays that are no RGB pixels.
        """
        crops: Sequence[str | Path | np.ndarray] = (
            list(images) if boxes is None and not isinstance(images, (str, Path)) else []
        )
        if boxes is not None:
            crops = _cut(images, torch.as_tensor(getattr(boxes, "xyxy", boxes)).cpu().numpy())
        elif isinstance(images, (str, Path)):
            crops = [images]
        rows = []
        for pixels in self.pixel_batches(crops, batch_size, progress):
            raw = self.embed_batch(pixels)
            if flip:
                raw = F.normalize(raw) + F.normalize(self.embed_batch(pixels.flip(3)))
            rows.append(F.normalize(raw.float()).cpu())
        if not rows:  # the width of an embedding is the network's to say: no rows of that of a black image
            black = torch.zeros(1, 3, self.preprocessing.height, self.preprocessing.width, dtype=torch.uint8)
            return self.embed_batch(black.to(self.device)).float().cpu()[:0].clone()
        return torch.cat(rows)

    def pixel_batches(
        self, images: Sequence[str | Path | np.ndarray], batch_size: int = BATCH, progress: bool = False
    ) -> Iterator[Tensor]:
        """Yields the pixels of images, uint8 [n, 3, H, W] where batches have to be.

        Args:
            images: paths or RGB arrays.
            batch_size: images at a time.
            progress: show a bar.
        """
        starts: Iterable[int] = range(0, len(images), batch_size)
        if progress:
            starts = track(starts, "embedding", transient=True)
        for start in starts:
            yield self._pixels(images[start : start + batch_size]).to(self.device)

    def _pixels(self, images: Sequence[str | Path | np.ndarray | Tensor]) -> Tensor:
        """uint8 [N, 3, H, W], channels_last, of files or arrays."""
        if all(isinstance(image, (str, Path)) for image in images):
            return to_tensor(self.preprocessing.read_many([Path(str(image)) for image in images]))
        return to_tensor(np.stack([self.preprocessing.resize(_as_image(image)) for image in images]))


def _as_image(image: object) -> Image.Image:
    """An RGB array or tensor, channels first or last, uint8 or float in [0, 1], as a Pillow image."""
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] != 3 and array.shape[0] == 3:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise PasserbyError(
            f"embed: an image of shape {tuple(array.shape)}; give a list of RGB arrays [h, w, 3] or tensors [3, h, w]"
        )
    if array.dtype != np.uint8:
        low, high = array.min(), array.max()
        if not (np.issubdtype(array.dtype, np.floating) and low >= 0 and high <= 1):  # false for NaN too
            raise PasserbyError(
                f"embed: {array.dtype} values from {low} to {high}; give RGB pixels as uint8, or as float in "
                "[0, 1], not normalised: the model does that itself"
            )
        array = (array * 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array))


def _cut(frame: object, boxes: np.ndarray) -> list[np.ndarray]:
    """Crops of a frame, boxes clipped to it."""
    pixels = np.asarray(open_image(Path(frame)) if isinstance(frame, (str, Path)) else _as_image(frame))
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise PasserbyError(f"embed: boxes of shape {boxes.shape}; give [N, 4] left, top, right, bottom in pixels")
    if not np.isfinite(boxes).all():
        raise PasserbyError("embed: a box with a coordinate that is not finite; leave such detections out")
    height, width = pixels.shape[:2]
    crops = []
    for left, top, right, bottom in boxes.reshape(-1, 4):
        x0, y0 = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
        x1, y1 = min(width, int(np.ceil(right))), min(height, int(np.ceil(bottom)))
        if x0 >= x1 or y0 >= y1:
            raise PasserbyError(
                f"embed: box ({left:.0f}, {top:.0f}, {right:.0f}, {bottom:.0f}) lies outside the {width} x {height} "
                f"frame"
            )
        crops.append(pixels[y0:y1, x0:x1])
    return crops
