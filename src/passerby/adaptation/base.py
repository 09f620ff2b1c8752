"""What every adaptation is: say which tensors may change, adapt on unlabelled images, leave the model as it was."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal, Protocol, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from passerby.data.images import Pixels, to_tensor
from passerby.errors import PasserbyError
from passerby.models.freeze import evaluating
from passerby.models.model import Model
from passerby.models.norm import AffineNorm2d, BatchInstanceNorm2d, InstanceNorm2d

FEWEST_IMAGES = 4
BATCH = 64

Moving = Literal["mean", "variance", "weight", "bias", "instance", "convolution"]
"""Kinds of tensors: mu, sigma^2, gamma and beta of the batch norms; affine of the instance norms; kernels."""

KEYS: dict[str, str] = {"mean": "running_mean", "variance": "running_var", "weight": "weight", "bias": "bias"}
"""What a batch norm calls its tensors."""


class BatchNorm(Protocol):
    """What torch's batch norms and ours have in common."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float | None

    def train(self, mode: bool = True) -> object:
        """Normalise by the batch."""

    def eval(self) -> object:
        """Normalise by the running statistics."""


class Adaptation(BaseModel, ABC):
    """A way to adapt a model to unlabelled images; its fields are its parameters. The contract is tent's (Wang et al., 2021)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    images: int | None = Field(None, ge=FEWEST_IMAGES)
    """N: adapt to so many images at most, drawn at random; null takes all."""

    def text(self) -> str:
        """Its name with the parameters that are not the defaults, as `parse_adaptation` reads it."""
        changed = self.model_dump(exclude_defaults=True, exclude={"name"})
        values = [f"{k}={','.join(v) if isinstance(v, tuple) else v}" for k, v in changed.items()]
        return f"{self.name}:{';'.join(values)}" if values else self.name

    def settings(self, images: int) -> dict[str, Any]:
        """Its parameters as they are for so many images, as JSON."""
        return self.model_dump(mode="json")

    @abstractmethod
    def moving(self) -> tuple[Moving, ...]:
        """Kinds of tensors that may change."""

    def check(self, model: Model) -> None:
        """Sees whether this model can be adapted this way.

        Raises:
            PasserbyError: when it cannot.
        """
        if model.domains:
            raise PasserbyError(
                f"{self.name}: the model's norms have statistics of each training domain, which are not adapted; camera "
                "normalisation works on any model (evaluate --camera-normalise, adapt --method none --cameras)"
            )
        if not batch_norms(model.backbone):
            raise PasserbyError(
                f"{self.name}: {model.architecture.backbone} has no batch norms to adapt; camera normalisation alone works on any "
                "model (evaluate --camera-normalise, adapt --method none --cameras)"
            )

    @abstractmethod
    def change(self, model: Model, images: Pixels, seed: int) -> None:
        """Changes the tensors of `moving`, and maybe others, which are put back."""

    def drawn(self, images: Pixels, seed: int) -> Pixels:
        """Those of the images that it adapts to: N of them where `images` says so."""
        if self.images is None or self.images >= len(images):
            return images
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        chosen: Pixels = images[order[: self.images].numpy()]
        return chosen

    def look(self, model: Model, images: Pixels) -> dict[str, float]:
        """What the method says of images without adapting: its losses by name, none where it has none.

        Args:
            model: in eval mode.
            images: as in `adapt`.
        """
        return {}

    def adapt(self, model: Model, images: Pixels, seed: int = 0) -> dict[str, Tensor]:
        """Adapts to images, and puts every tensor of the model back.

        Args:
            model: a trained model.
            images: uint8 [N, H, W, 3] RGB of the model's size, unlabelled.
            seed: fixes which images, and their order.

        Returns:
            the tensors that may have changed, by their names in the model, with their new values.

        Raises:
            PasserbyError: when the model, or so few images, cannot be adapted; the model is as it was then too.
        """
        self.check(model)
        check_images(images)
        images = self.drawn(images, seed)
        names = moving_tensors(model, self.moving())
        if not names:
            raise PasserbyError(
                f"{self.name}: the model has none of what should move ({', '.join(self.moving())}); choose other moves"
            )
        with torch.inference_mode(False), _put_back(model), torch.enable_grad():
            self.change(model, images, seed)
            state = model.state_dict()
            tensors = {name: state[name].detach().cpu().clone() for name in names}
        broken = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
        if broken:
            raise PasserbyError(
                f"{self.name}: {broken[0]} is not finite after adapting; lower the learning rate, or look at the images"
            )
        return tensors


def check_images(images: Pixels) -> None:
    """Raises PasserbyError for fewer than `FEWEST_IMAGES` images, or many of one."""
    if len(images) < FEWEST_IMAGES:
        raise PasserbyError(f"{len(images)} images to adapt to; give at least {FEWEST_IMAGES}")
    if all((images[batch] == images[:1]).all() for batch in even_batches(len(images))):
        raise PasserbyError(f"all {len(images)} images are the same; give different crops")


def batch_norms(model: nn.Module) -> dict[str, BatchNorm]:
    """Layers that normalise by running statistics at test time, by name; those of a matcher are among them, which no image passes."""
    return {
        name: cast(BatchNorm, module)
        for name, module in model.named_modules()
        if isinstance(module, (_BatchNorm, AffineNorm2d))
        and not isinstance(module, InstanceNorm2d)
        and module.running_mean is not None
    }


def moving_tensors(model: nn.Module, moving: tuple[Moving, ...]) -> list[str]:
    """Names of the tensors of these kinds, in the model's order."""
    chosen = {f"{name}.{KEYS[kind]}" for name in batch_norms(model) for kind in moving if kind in KEYS}
    for name, module in model.named_modules():
        if "instance" in moving and isinstance(module, InstanceNorm2d):
            chosen |= {f"{name}.weight", f"{name}.bias"}
        if "instance" in moving and isinstance(module, BatchInstanceNorm2d):
            chosen |= {f"{name}.instance_weight", f"{name}.instance_bias"}
        if "convolution" in moving and isinstance(module, nn.Conv2d):
            chosen |= {f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)}
    return [name for name in model.state_dict() if name in chosen]


@contextmanager
def new_statistics(model: nn.Module, weight: float) -> Iterator[None]:
    """Lets batch norms normalise by their batches, all else as at test time; afterwards the running statistics are the old
    ones mixed with the mean over the batches of the block.

    So they go the same way whatever the number of batches is: a momentum m would take them 1 - (1 - m)^n of it after n.

    Args:
        model: in eval mode.
        weight: of the new statistics, in (0, 1].
    """
    layers = list(batch_norms(model).values())
    kept = [(layer, layer.momentum, layer.running_mean.clone(), layer.running_var.clone()) for layer in layers]
    try:
        for layer in layers:
            layer.train()
            layer.momentum = None  # all batches count evenly
            layer.num_batches_tracked.zero_()
        yield
    finally:
        for layer, momentum, _, _ in kept:
            layer.eval()
            layer.momentum = momentum
    with torch.no_grad():
        for layer, _, mean, variance in kept:
            layer.running_mean.copy_(torch.lerp(mean, layer.running_mean, weight))
            layer.running_var.copy_(torch.lerp(variance, layer.running_var, weight))


@contextmanager
def gradients_for(model: nn.Module, names: list[str]) -> Iterator[list[nn.Parameter]]:
    """Yields the parameters among `names` that are not frozen (as the BNNeck's bias is); they alone take gradients in the block."""
    kept = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    chosen = [parameters[name] for name in names if name in parameters]
    for parameter, _ in kept:
        parameter.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)
    try:
        yield chosen
    finally:
        for parameter, wanted in kept:
            parameter.requires_grad_(wanted)
            parameter.grad = None


def network_input(model: Model, images: Pixels) -> Tensor:
    """Images uint8 [n, H, W, 3] as the model's input, on its device."""
    return model.preprocessing.normalise(to_tensor(images).to(model.device))


def even_batches(count: int, size: int = BATCH) -> list[slice]:
    """Slices of about `size` that cover `count`, alike in length: no batch is left with a few images."""
    pieces = max(1, round(count / size))
    edges = [count * k // pieces for k in range(pieces + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


@torch.no_grad()
def write_tensors(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Gives some of a model's tensors new values, in place."""
    state = model.state_dict()
    for name, value in tensors.items():
        state[name].copy_(value)


@contextmanager
def wearing(model: nn.Module, tensors: dict[str, Tensor]) -> Iterator[None]:
    """Puts new values into some of a model's tensors for the length of a block, and the very same old ones back."""
    state = model.state_dict()
    before = {name: state[name].clone() for name in tensors}
    try:
        write_tensors(model, tensors)
        yield
    finally:
        write_tensors(model, before)


@contextmanager
def _put_back(model: Model) -> Iterator[None]:
    """Whatever the block changes in the model, and whether it raises or not: tensors and mode are put back."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        with evaluating(model):
            yield
    finally:
        write_tensors(model, before)
