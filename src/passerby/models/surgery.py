"""Norm surgery on any timm network: exchange batch norms, append norms to blocks, and undo either."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from passerby.errors import PasserbyError

APPENDED = "appended_norm"
"""Name under which `append_norms` hangs a norm into a block, or into the block's last activation."""


@dataclass(frozen=True)
class Surgery:
    """What was changed, and the way back.

    Attributes:
        names: the changed layers (`replace_norms`) or blocks (`append_norms`), in the network's order.
    """

    names: tuple[str, ...]
    _undo: list[Callable[[], None]]

    def undo(self) -> None:
        """Puts back the very same modules and tensors, the last change first; a second time does nothing."""
        while self._undo:
            self._undo.pop()()


def replace_norms(model: nn.Module, factory: Callable[[nn.BatchNorm2d], nn.Module], where: str = ".*") -> Surgery:
    """Puts a norm of another kind in the place of batch norms.

    timm's layers that are norm and activation in one become a sequence of the new norm (`norm`) and what followed it.

    Args:
        model: any network.
        factory: makes the new layer of the old one; the layers of `passerby.models.norm` have `of` for that, which keeps
            the pretrained parameters and buffers: the very same tensors.
        where: regular expression that matches the whole name of the layers to replace.

    Raises:
        PasserbyError: when no BatchNorm2d has such a name.
    """
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and re.fullmatch(where, name)
    ]
    if not found:
        raise PasserbyError(
            f"models.surgery: {type(model).__name__} has no BatchNorm2d layer named like '{where}'; choose a backbone with "
            "batch norms (MobileNetV2, ResNet), or other layers"
        )
    undo: list[Callable[[], None]] = []
    for name, old in found:
        new = factory(old)
        rest = [(key, child) for key, child in old.named_children() if not isinstance(child, nn.Identity)]
        model.set_submodule(name, nn.Sequential() if rest else new)
        if rest:
            sequence = model.get_submodule(name)
            for key, child in [("norm", new), *rest]:
                sequence.add_module(key, child)
        tensors = {**dict(old.named_parameters(recurse=False)), **dict(old.named_buffers(recurse=False))}
        lent = [key for key, tensor in tensors.items() if getattr(new, key, None) is tensor]
        undo.append(partial(_put_back, model, name, old, new, lent))
    return Surgery(tuple(name for name, _ in found), undo)


def append_norms(
    model: nn.Module, factory: Callable[[int], nn.Module], where: str, image_size: tuple[int, int]
) -> Surgery:
    """Adds a norm at the end of blocks: before the block's last activation where it ends in one, else after its output.

    Parameters keep their names; the new norm's stand under the block's or the activation's, as `appended_norm`.

    Args:
        model: any network that takes images [N, 3, H, W].
        factory: makes the norm of the number of channels that the block puts out.
        where: regular expression that matches the whole name of the blocks.
        image_size: (height, width) on which the network is run once, to see what the blocks put out.

    Raises:
        PasserbyError: when no block has such a name, or one puts out no maps, or has an appended norm already.
    """
    blocks = {name: module for name, module in model.named_modules() if re.fullmatch(where, name)}
    if not blocks:
        raise PasserbyError(
            f"models.surgery: {type(model).__name__} has no block named like '{where}'; print its named_modules()"
        )
    ends = _ends(model, blocks, image_size)
    undo: list[Callable[[], None]] = []
    for channels, activation, block in ends:
        place = block if activation is None else activation
        if any(hasattr(module, APPENDED) for module in (block, *block.children())):
            raise PasserbyError(
                f"models.surgery: {type(block).__name__} has an appended norm already; undo that one first, or name other blocks"
            )
        place.add_module(APPENDED, factory(channels))
        handle = place.register_forward_hook(_after) if activation is None else place.register_forward_pre_hook(_before)
        undo += [handle.remove, partial(delattr, place, APPENDED)]
    return Surgery(tuple(blocks), undo)


def _put_back(model: nn.Module, name: str, old: nn.BatchNorm2d, new: nn.Module, lent: list[str]) -> None:
    """Sets `old` in its place again. Tensors that it lent to `new` may have moved since (`.to()`, `.double()`): they come along."""
    for key in lent:
        setattr(old, key, getattr(new, key))
    model.set_submodule(name, old)


def _ends(
    model: nn.Module, blocks: dict[str, nn.Module], image_size: tuple[int, int]
) -> list[tuple[int, nn.Module | None, nn.Module]]:
    """Of each block: the channels that it puts out, the activation whose output that is (or None), and the block."""
    outputs: dict[nn.Module, Tensor] = {}
    watched = {m for block in blocks.values() for m in (block, *block.children())}

    def keep(module: nn.Module, _: Any, output: Tensor) -> None:
        outputs[module] = output

    hooks = [module.register_forward_hook(keep) for module in watched]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, *image_size, device=next(model.parameters()).device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    ends = []
    for name, block in blocks.items():
        output = outputs.get(block)
        if not isinstance(output, Tensor) or output.ndim != 4:
            what = "is never run" if output is None else "puts out no maps [N, C, h, w]"
            raise PasserbyError(
                f"models.surgery: block '{name}' {what}; name blocks of a convolutional network's stages"
            )
        # An activation is what has no parameters and puts out the very tensor that the block puts out.
        last = [
            child
            for child in block.children()
            if child in outputs
            and outputs[child] is outputs[block]
            and not isinstance(child, nn.Identity)
            and not any(True for _ in child.parameters())
        ]
        ends.append((outputs[block].shape[1], last[-1] if last else None, block))
    return ends


def _after(block: nn.Module, _: Any, output: Tensor) -> Any:
    return block.get_submodule(APPENDED)(output)


def _before(activation: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return activation.get_submodule(APPENDED)(inputs[0])
