"""Batch-instance norm: forward and backward over the maps of every norm layer of MobileNetV2 at 128x64, batch 64.

Goals, summed over the 52 layers: at most 1.3 x torch's BatchNorm2d contiguous and 1.6 x in channels_last; at most 0.45 x
and 0.25 x the plain formula of two norms. `--compile` measures the layer under torch.compile (`trainer.compile=true`)
against the same two, as they are; it needs a C++ compiler and some minutes.
"""

import argparse
from collections.abc import Callable

import torch
from common import THREADS, seconds
from torch import Tensor, nn

from passerby.memory import keep_freed_memory
from passerby.models.backbone import Backbone
from passerby.models.norm import BatchInstanceNorm2d

BATCH, ROUNDS = 64, 6


def norm_shapes() -> list[tuple[int, ...]]:
    """[C, h, w] of the input of every norm layer."""
    network = Backbone("mobilenetv2_100", (128, 64)).network
    shapes: list[tuple[int, ...]] = []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _, inputs, __: shapes.append(tuple(inputs[0].shape[1:])))
    with torch.no_grad():
        network(torch.zeros(2, 3, 128, 64))
    return shapes


def two_norms(layer: BatchInstanceNorm2d, batch_norm: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    """The plain formula."""
    instance = nn.functional.instance_norm(maps, weight=layer.instance_weight, bias=layer.instance_bias, eps=layer.eps)
    gate = layer.gate.view(1, -1, 1, 1)
    return gate * batch_norm(maps) + (1 - gate) * instance


def main() -> None:
    """Prints both ratios in both memory formats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="store_true", help="measure the layer under torch.compile")
    compiled = parser.parse_args().compile
    torch.set_num_threads(THREADS)
    keep_freed_memory()  # as `passerby train` does
    shapes = norm_shapes()
    for form, goals in ((torch.contiguous_format, (1.3, 0.45)), (torch.channels_last, (1.6, 0.25))):
        total = [0.0, 0.0, 0.0]
        for shape in set(shapes):
            batch_norm = nn.BatchNorm2d(shape[0])
            layer = BatchInstanceNorm2d.of(nn.BatchNorm2d(shape[0]))
            maps = torch.randn(BATCH, *shape).to(memory_format=form).requires_grad_()
            gradient = torch.randn(BATCH, *shape).to(memory_format=form)

            def both_ways(run: Callable[[Tensor], Tensor], maps: Tensor = maps, gradient: Tensor = gradient) -> float:
                maps.grad = None
                return seconds(lambda: run(maps).backward(gradient))

            torch.compiler.reset()
            measured = torch.compile(layer, dynamic=False) if compiled else layer
            runs = (measured, batch_norm, lambda x, a=layer, b=batch_norm: two_norms(a, b, x))
            rounds = [[both_ways(run) for run in runs] for _ in range(ROUNDS + 1)][1:]
            total = [
                t + shapes.count(shape) * min(times) for t, times in zip(total, zip(*rounds, strict=True), strict=True)
            ]
        print(
            f"{str(form).removeprefix('torch.')}: {total[0] / total[1]:.2f} x BatchNorm2d (goal: {goals[0]}), "
            f"{total[0] / total[2]:.2f} x two norms (goal: {goals[1]}); BatchNorm2d takes {1000 * total[1]:.0f} ms"
        )


if __name__ == "__main__":
    main()
