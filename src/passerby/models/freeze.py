"""Freezing what a step must not touch, for the length of a block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from passerby.models.neck import RoutedBatchNorm1d
from passerby.models.norm.affine import AffineNorm2d
from passerby.models.norm.domain import DomainNorm2d

_OURS = (AffineNorm2d, DomainNorm2d, RoutedBatchNorm1d)

Moving = Literal["everything", "norms", "gates", "nothing"] | Callable[[str], bool]
"""Which parameters may move: all, those of norm layers, the gates of batch-instance norms, none, or by name."""


@contextmanager
def frozen(model: nn.Module, moving: Moving = "everything", hold_statistics: bool = False) -> Iterator[None]:
    """Lets only some parameters take gradients, and holds running statistics, until the block ends or raises.

    Parameters that were frozen before stay so. Batches are still normalised by their own statistics in training mode; with
    `hold_statistics` the running ones do not follow them.

    Args:
        model: any network.
        moving: what may still move.
        hold_statistics: whether running statistics (and the count of batches) rest.
    """
    moves = _by_name(model, moving) if isinstance(moving, str) else moving
    stopped = [p for name, p in model.named_parameters() if p.requires_grad and not moves(name)]
    # Without tracking torch's batch norm still normalises by the batch in training, and by its buffers in eval.
    kinds = ((_OURS, "hold_statistics", True), (_BatchNorm, "track_running_stats", False))
    flags = [
        (module, name, held)
        for module in model.modules()
        for kind, name, held in kinds
        if hold_statistics and isinstance(module, kind) and getattr(module, name) is not held
    ]
    for parameter in stopped:
        parameter.requires_grad_(False)
    for module, name, held in flags:
        setattr(module, name, held)
    try:
        yield
    finally:
        for parameter in stopped:
            parameter.requires_grad_(True)
        for module, name, held in flags:
            setattr(module, name, not held)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for the length of a block; then every layer is back in the mode it was in, whichever its model is in."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _by_name(model: nn.Module, moving: Literal["everything", "norms", "gates", "nothing"]) -> Callable[[str], bool]:
    if moving == "everything":
        return lambda _: True
    if moving == "nothing":
        return lambda _: False
    norms = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, (*_OURS, _BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d))
        for name, _ in module.named_parameters(recurse=False)
        if moving == "norms" or name == "gate"
    }
    return norms.__contains__
