"""LDA: a step (both modes) beside the baseline's on the same images, and the re-colouring norm beside torch's batch norm.

Goals: a step at most 2.4 x the baseline's; Anti-Normalization, forward and backward, summed over the maps of all 52 norm layers of
MobileNetV2 at 128x64 with a batch of 60, at most 1.3 x BatchNorm2d contiguous and 1.6 x in channels_last. `--compile` measures the
layer and both steps under torch.compile (`trainer.compile=true`), the batch norm as it is; it needs a C++ compiler and some minutes.
"""

import argparse

import torch
from common import THREADS, seconds
from norms import norm_shapes
from torch import Tensor, nn

from passerby.data.augment import Augmentation
from passerby.data.images import Preprocessing
from passerby.data.training_set import Batch
from passerby.memory import keep_freed_memory
from passerby.methods.base import TrainingFacts
from passerby.methods.baseline import Baseline, BaselineSettings
from passerby.methods.lda import Lda, LdaSettings
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.model import Architecture, Model
from passerby.models.norm import DomainNorm2d
from passerby.models.norm_kinds import BankSettings
from passerby.models.route import Route, other_domains, routed

DOMAINS, PEOPLE, EACH, ROUNDS = 3, 5, 4, 6
IMAGES = DOMAINS * PEOPLE * EACH
DOMAIN = torch.arange(IMAGES) // (PEOPLE * EACH)
COLOUR = other_domains(DOMAIN, DOMAINS, torch.Generator().manual_seed(0))


def batch() -> Batch:
    """60 images: 4 of each of 5 people of each of 3 domains; well after the warm-up."""
    pixels = torch.randn(IMAGES, 3, 128, 64, generator=torch.Generator().manual_seed(0))
    identity = torch.arange(IMAGES) // EACH
    return Batch(pixels.contiguous(memory_format=torch.channels_last), identity, identity * 0, DOMAIN, 50)


def method(kind: type[Baseline], settings: BaselineSettings | LdaSettings) -> Baseline:
    """A method outside of a trainer, its logging switched off."""
    optimizer, schedule = OptimizerSettings(lr=1e-4), ScheduleSettings()
    facts = TrainingFacts(1000, DOMAINS, 100, 0, optimizer, schedule, Augmentation())
    norm = "domain" if kind is Lda else "batch"
    architecture = Architecture(backbone="mobilenetv2_100", norm=norm, bank=BankSettings(domains=DOMAINS))
    made = kind(Model(architecture, Preprocessing(height=128, width=64)), facts, settings)
    made.log = lambda *args, **options: None  # type: ignore[method-assign]
    return made


def step(trained: Baseline, optimizer: torch.optim.Optimizer, images: Batch) -> None:
    """Forward, backward and the optimizer's step."""
    optimizer.zero_grad()
    torch.stack(list(trained.losses(images).values())).sum().backward()
    optimizer.step()


def steps(compiled: bool) -> tuple[float, float]:
    """Seconds of a step of LDA and of the baseline."""
    images = batch()
    trained = [
        (m, torch.optim.Adam(p for p in m.parameters() if p.requires_grad))
        for m in (method(Lda, LdaSettings()), method(Baseline, BaselineSettings()))
    ]
    if compiled:
        for m, _ in trained:
            m.model.backbone.compile()
    rounds = [[seconds(lambda m=m, o=o: step(m, o, images)) for m, o in trained] for _ in range(ROUNDS + 1)][1:]
    lda, baseline = (min(times) for times in zip(*rounds, strict=True))
    return lda, baseline


def both_ways(norm: nn.Module, maps: Tensor, gradient: Tensor, route: Route | None) -> float:
    """Seconds of forward and backward."""
    maps.grad = None
    with routed(norm, route):
        return seconds(lambda: norm(maps).backward(gradient))


def layers(form: torch.memory_format, compiled: bool) -> dict[str, float]:
    """Seconds of both modes of the layer, and of batch norm, over all norm layers."""
    shapes = norm_shapes()
    routes = {"recolour": Route(DOMAIN, "recolour", COLOUR), "expert": Route(DOMAIN), "batch norm": None}
    total = dict.fromkeys(routes, 0.0)
    for shape in set(shapes):
        batch_norm = nn.BatchNorm2d(shape[0])
        torch.compiler.reset()
        bank = DomainNorm2d.of(nn.BatchNorm2d(shape[0]), DOMAINS)
        if compiled:
            bank.compile(dynamic=False)
        maps = torch.randn(IMAGES, *shape).to(memory_format=form).requires_grad_()
        gradient = torch.randn(IMAGES, *shape).to(memory_format=form)
        norms = [(batch_norm if route is None else bank, route) for route in routes.values()]
        rounds = [[both_ways(norm, maps, gradient, route) for norm, route in norms] for _ in range(ROUNDS + 1)][1:]
        for name, times in zip(routes, zip(*rounds, strict=True), strict=True):
            total[name] += shapes.count(shape) * min(times)
    return total


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="store_true", help="measure under torch.compile")
    compiled = parser.parse_args().compile
    torch.set_num_threads(THREADS)
    keep_freed_memory()  # as `passerby train` does
    for form, goal in ((torch.contiguous_format, 1.3), (torch.channels_last, 1.6)):
        found = layers(form, compiled)
        bare = found["batch norm"]
        print(
            f"{str(form).removeprefix('torch.')}: Anti-Normalization {found['recolour'] / bare:.2f} x BatchNorm2d (goal: "
            f"{goal}), expert {found['expert'] / bare:.2f} x; BatchNorm2d takes {1000 * bare:.0f} ms"
        )
    lda, baseline = steps(compiled)
    print(f"LDA step: {lda / baseline:.2f} x the baseline's (goal: 2.4), which takes {baseline:.2f} s")


if __name__ == "__main__":
    main()
