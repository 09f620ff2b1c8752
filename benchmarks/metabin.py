"""A MetaBIN iteration (base step of 80 images, meta step of 80): time beside the same networks without meta-learning, and memory.

Goals: at most 1.8 x an iteration of the same batch-instance network without meta-learning, and 2.5 x one of the plain
batch-norm baseline; peak memory of the meta step not above the base step's. `--compile` measures all three under
torch.compile (`trainer.compile=true`); it needs a C++ compiler and some minutes.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from common import THREADS, peak_gib, seconds

from passerby.data.augment import Augmentation
from passerby.data.images import Preprocessing
from passerby.data.training_set import Batch
from passerby.memory import keep_freed_memory
from passerby.methods.base import TrainingFacts
from passerby.methods.baseline import Baseline, BaselineSettings
from passerby.methods.metabin import MetaBin, MetaBinSettings
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.model import Architecture, Model
from passerby.models.norm_kinds import NormKind

ROUNDS, DOMAINS, PEOPLE, EACH = 5, 5, 4, 4


def batch(step: int) -> Batch:
    """80 images: 4 of each of 4 people of each of 5 domains."""
    images = DOMAINS * PEOPLE * EACH
    identity = torch.arange(images) // EACH
    pixels = torch.randn(images, 3, 128, 64, generator=torch.Generator().manual_seed(step))
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    return Batch(pixels, identity, identity * 0, identity // PEOPLE, step)


def method(kind: type[Baseline], settings: BaselineSettings | MetaBinSettings, norm: NormKind) -> Baseline:
    """A method outside of a trainer, its logging switched off."""
    optimizer, schedule = OptimizerSettings(lr=1e-4), ScheduleSettings()
    facts = TrainingFacts(1000, DOMAINS, 100, 0, optimizer, schedule, Augmentation())
    model = Model(Architecture(backbone="mobilenetv2_100", norm=norm), Preprocessing(height=128, width=64))
    made = kind(model, facts, settings)
    made.log = lambda *args, **options: None  # type: ignore[method-assign]
    return made


def base_step(trained: Baseline, optimizer: torch.optim.Optimizer) -> None:
    """Forward, backward and the optimizer's step."""
    optimizer.zero_grad()
    torch.stack(list(trained.losses(batch(0)).values())).sum().backward()
    optimizer.step()


def main() -> None:
    """Prints ratios of time and of memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="store_true", help="measure under torch.compile")
    compiled = parser.parse_args().compile
    torch.set_num_threads(THREADS)
    plain = method(Baseline, BaselineSettings(), "batch")
    gated = method(Baseline, BaselineSettings(), "bin")
    metabin = method(MetaBin, MetaBinSettings(), "bin")
    assert isinstance(metabin, MetaBin)
    if compiled:
        for trained in (plain, gated, metabin):
            trained.model.backbone.compile()
    base = {
        m: partial(base_step, m, torch.optim.Adam(p for p in m.parameters() if p.requires_grad))
        for m in (plain, gated, metabin)
    }
    memory = peak_gib(base[metabin]), peak_gib(lambda: metabin.meta_step(batch(1)))
    keep_freed_memory()

    def iteration() -> None:
        base[metabin]()
        metabin.meta_step(batch(1))

    works: tuple[Callable[[], object], ...] = (iteration, base[gated], base[plain])
    rounds = [[seconds(work) for work in works] for _ in range(ROUNDS + 1)][1:]
    whole, without, bn = (min(times) for times in zip(*rounds, strict=True))
    print(
        f"MetaBIN iteration: {whole / without:.2f} x the batch-instance network alone (goal: 1.8), "
        f"{whole / bn:.2f} x the batch-norm baseline (goal: 2.5), which takes {bn:.2f} s"
    )
    print(f"peak memory: meta step {memory[1]:.2f} GiB, base step {memory[0]:.2f} GiB (goal: not above)")


if __name__ == "__main__":
    main()
