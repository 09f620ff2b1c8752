"""Camera normalisation: every camera's embeddings brought to mean 0 and deviation 1."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from passerby.errors import PasserbyError

FEWEST_OF_A_CAMERA = 8
"""A camera with fewer is normalised by the statistics of all images: two would become each other's opposites."""
SMALLEST_DEVIATION = 1e-3
"""Embeddings have length 1; a dimension that varies less is taken to vary so much, or rounding would be blown up."""
ANY = ""
"""Stands for all images together, and for the camera of an image whose camera is not known."""


@dataclass(frozen=True)
class CameraStatistics:
    """Mean and deviation of the embeddings of each camera (Song et al., "camera bias", ICLR 2025, arXiv 2502.10195).

    Attributes:
        cameras: names of the rows; the first is `ANY`, of all images together.
        mean, deviation: [K, D].
    """

    cameras: tuple[str, ...]
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, embeddings: Tensor, cameras: Sequence[str | None]) -> "CameraStatistics":
        """Statistics of unlabelled images.

        Args:
            embeddings: [N, D], rows of length 1.
            cameras: of each image; None where it is not known.

        Raises:
            PasserbyError: for fewer than `FEWEST_OF_A_CAMERA` images in all.
        """
        if len(embeddings) < FEWEST_OF_A_CAMERA:
            raise PasserbyError(f"camera normalisation: {len(embeddings)} images; give at least {FEWEST_OF_A_CAMERA}")
        named = [ANY if camera is None else str(camera) for camera in cameras]
        rows = {ANY: list(range(len(named)))}
        for row, camera in enumerate(named):
            if camera != ANY:
                rows.setdefault(camera, []).append(row)
        kept = {camera: own for camera, own in rows.items() if len(own) >= FEWEST_OF_A_CAMERA}
        groups = [embeddings[own].float() for own in kept.values()]
        return cls(
            tuple(kept),
            torch.stack([group.mean(0) for group in groups]),
            torch.stack([group.std(0, correction=0) for group in groups]),
        )

    def normalise(self, embeddings: Tensor, cameras: Sequence[str | None]) -> Tensor:
        """(f - mean) / deviation by camera, brought back to length 1.

        Args:
            embeddings: [N, D], rows of length 1.
            cameras: of each image; one that has no statistics is normalised by those of all images.
        """
        index = {camera: row for row, camera in enumerate(self.cameras)}
        rows = torch.tensor([index.get(ANY if c is None else str(c), 0) for c in cameras], dtype=torch.int64)
        spread = self.deviation.clamp(min=SMALLEST_DEVIATION)
        return F.normalize((embeddings - self.mean[rows]) / spread[rows])
