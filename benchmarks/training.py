"""Feeding a training step: images a second out of the cache, and the share of a MobileNetV2 step that data take.

Goals: gather + flip + pad-crop at 4,000 images a second or more on two cores; data under 5 % of the step.
"""

import tempfile
from pathlib import Path

import torch
from common import THREADS, seconds

from passerby.data.augment import Augmentation, augment, flip_and_crop
from passerby.data.images import Preprocessing
from passerby.data.sample import Sample
from passerby.data.sampling import IdentityBalancedSampler
from passerby.data.synthetic import write_market
from passerby.data.training_set import Batch, TrainingSet
from passerby.methods.base import TrainingFacts
from passerby.methods.baseline import Baseline, BaselineSettings
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.model import Architecture, Model
from passerby.seeding import torch_generator

STEPS = 12


def main() -> None:
    """Prints the two figures."""
    torch.set_num_threads(THREADS)
    preprocessing, augmentation = Preprocessing(height=128, width=64), Augmentation(flip=0.5, pad=5)
    with tempfile.TemporaryDirectory() as folder:
        write_market(Path(folder) / "data", ["sunny-plaza"], 120, progress=False)
        images = sorted((Path(folder) / "data" / "sunny-plaza" / "bounding_box_train").iterdir())
        samples = [Sample(path, int(path.name[:4]), int(path.name[6]), "sunny-plaza") for path in images]
        data = TrainingSet([("sunny-plaza", samples)], preprocessing, None, 0, Path(folder))
        batches = IdentityBalancedSampler(data.identity, 16, 4, 0).epoch(0)
        generator = torch_generator(0)
        every = [batch for _ in range(40) for batch in batches]
        feeding = min(
            seconds(lambda: [flip_and_crop(data.gather(batch), 0.5, 5, generator) for batch in every]) for _ in range(3)
        )
        print(f"gather + flip + pad-crop: {64 * len(every) / feeding:,.0f} images/s (goal: 4,000)")
        facts = TrainingFacts(data.classes, 1, STEPS, 0, OptimizerSettings(), ScheduleSettings(), augmentation)
        method = Baseline(Model(Architecture(backbone="mobilenetv2_100"), preprocessing), facts, BaselineSettings())
        optimizer = torch.optim.Adam(method.parameters())
        fed: list[float] = []

        def step(index: int) -> None:
            fed.append(seconds(lambda: load(index)))
            optimizer.zero_grad()
            torch.stack(list(method.losses(loaded[-1]).values())).sum().backward()
            optimizer.step()

        def load(index: int) -> None:
            batch = data.batch(batches[index % len(batches)], index)
            batch.images = augment(batch.images, augmentation, preprocessing, torch_generator(0, index))
            loaded[:] = [batch]

        loaded: list[Batch] = []
        method.log = lambda *args, **options: None  # type: ignore[method-assign]
        steps = [seconds(lambda index=index: step(index)) for index in range(STEPS)]
        share = sorted(feed / whole for feed, whole in zip(fed, steps, strict=True))[STEPS // 2]
        print(f"data's share of a training step (MobileNetV2, 64 images at 128x64): {100 * share:.1f} % (goal: < 5 %)")


if __name__ == "__main__":
    main()
