"""AdaBN: the batch norms' statistics taken again on the new place, no gradients."""

from typing import Literal

import torch
from pydantic import Field

from passerby.adaptation.base import Adaptation, Moving, even_batches, network_input, new_statistics
from passerby.data.images import Pixels
from passerby.models.model import Model


class AdaBn(Adaptation):
    """Li et al., "Adaptive Batch Normalization for Practical Domain Adaptation", Pattern Recognition 2018.

    One pass over the images: every batch norm that they pass normalises by its batches and averages their statistics. They are then mixed
    with the source's (ours: the paper takes the target's alone, which is weight 1).
    """

    name: Literal["adabn"] = "adabn"
    weight: float = Field(0.3, gt=0, le=1)
    """Of the new statistics against the source's."""

    def moving(self) -> tuple[Moving, ...]:
        """Statistics alone."""
        return ("mean", "variance")

    def change(self, model: Model, images: Pixels, seed: int) -> None:
        """Mixes the statistics."""
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).numpy()
        with new_statistics(model, self.weight), torch.inference_mode():
            for batch in even_batches(len(images)):
                model(network_input(model, images[order[batch]]), parts=True)
