"""How far a place is from what a model's batch norms know."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from passerby.adaptation.base import batch_norms, even_batches, network_input
from passerby.data.images import Pixels
from passerby.models.freeze import evaluating
from passerby.models.model import Model
from passerby.models.norm.primitive import image_moments

LOOKED_AT = 256
"""Images that are enough to tell how far a place lies."""


def looked_at(images: Pixels) -> Pixels:
    """Images evenly chosen of many: `LOOKED_AT` of them, or up to twice as many."""
    some: Pixels = images[:: max(1, len(images) // LOOKED_AT)]
    return some


@dataclass(frozen=True)
class LayerShift:
    """One batch norm on the images of a place, by channel.

    Attributes:
        name: of the layer in the model.
        mean: [C], mean of its input on these images less the running mean, in running deviations.
        deviation: [C], deviation of its input on these images over the running deviation.
    """

    name: str
    mean: Tensor
    deviation: Tensor

    @property
    def distance(self) -> float:
        """2-Wasserstein distance of the two Gaussians in running deviations, mean over channels."""
        return float((self.mean.square() + (self.deviation - 1).square()).sqrt().mean())


def norm_shift(model: Model, images: Pixels) -> list[LayerShift]:
    """Compares what every batch norm sees on these images with its running statistics, the model as at test time.

    This is the shift that BNTA starts from (Han et al., AAAI 2022, Fig. 1).

    Args:
        model: with batch norms.
        images: uint8 [N, H, W, 3] RGB of the model's size.
    """
    layers: dict[str, Any] = dict(batch_norms(model))
    sums: dict[str, Tensor] = {}

    def look(module: nn.Module, inputs: tuple[Tensor, ...], name: str) -> None:
        maps = inputs[0].detach().reshape(*inputs[0].shape[:2], -1, 1)
        # Float64, which not every device has, for the sums over images alone.
        mean, variance = (moment.cpu().double() for moment in image_moments(maps))
        count = torch.full_like(mean, maps.shape[2])
        found = torch.stack([count * mean, count * (variance + mean.square()), count]).sum(1)
        sums[name] = sums[name] + found if name in sums else found

    handles = [layer.register_forward_pre_hook(partial(look, name=name)) for name, layer in layers.items()]
    try:
        # Hooks are not heard in a compiled network.
        with evaluating(model), torch.inference_mode(), torch.compiler.set_stance("force_eager"):
            for batch in even_batches(len(images)):
                model(network_input(model, images[batch]), parts=True)
    finally:
        for handle in handles:
            handle.remove()
    shifts = []
    for name, (total, squares, count) in sums.items():
        layer = layers[name]
        centre, spread = layer.running_mean.double().cpu(), (layer.running_var.double().cpu() + layer.eps).sqrt()
        mean = total / count
        deviation = ((squares / count - mean.square()).clamp(min=0) + layer.eps).sqrt()
        shifts.append(LayerShift(name, (mean - centre) / spread, deviation / spread))
    return shifts


def place_distance(shifts: Sequence[LayerShift]) -> float:
    """One number for a place: the mean of its layers' distances."""
    return sum(shift.distance for shift in shifts) / len(shifts)
