"""ISR: the share of association and losses in a training step, and time and memory as the film grows.

Goals: association and losses under 5 % of a step (MobileNetV2, three frames of 80 crops at 128x64); time per crop and memory the
same from 1 to 8 times the film.
"""

import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import THREADS, peak_gib, seconds
from PIL import Image

from passerby.data.augment import augment
from passerby.data.images import Preprocessing
from passerby.data.video.crops import Crop, StoredCrop
from passerby.data.video.film_loader import FilmLoader
from passerby.data.video.film_set import FilmSet
from passerby.data.video.frame_pairs import FramePairSettings
from passerby.data.video.writer import FilmWriter, merge_listings
from passerby.losses.feature_queue import Origin
from passerby.memory import keep_freed_memory
from passerby.methods.base import TrainingFacts
from passerby.methods.isr import Isr, IsrSettings
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.model import Architecture, Model
from passerby.recipes import load_recipe
from passerby.seeding import torch_generator

PREPROCESSING = Preprocessing(height=128, width=64)
AUGMENTATION = load_recipe("isr-mobilenetv2").data.augment
PAIRS = FramePairSettings(memory=16, visits=4)
STEPS, SHOTS, FRAMES, PEOPLE = 8, 24, 40, 8


def main() -> None:
    """Prints the share, and seconds a crop and memory by the amount of film."""
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        sets = {times: write_film(Path(folder) / f"film{times}", times * SHOTS) for times in (1, 2, 4, 8)}
        share(FilmSet([sets[1]], PREPROCESSING, PAIRS, 0))
        for times, shards in sets.items():
            feeding(times, shards)


def share(film: FilmSet) -> None:
    """How much of a step association and losses take, forward and backward."""
    facts = TrainingFacts(0, len(film.plan.shots), STEPS, 0, OptimizerSettings(), ScheduleSettings(), AUGMENTATION)
    method = Isr(Model(Architecture(backbone="mobilenetv2_100", norm="isr"), PREPROCESSING), facts, IsrSettings())
    method.log = lambda *args, **options: None  # type: ignore[method-assign]
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], fused=True)
    network, shares, crops = method.embed, [], 0
    assert method.queue is not None
    stranger = torch.full((8192,), 10**6)
    full = torch.nn.functional.normalize(torch.randn(8192, method.model.dimension))
    method.queue.push(full, Origin(stranger, stranger, torch.zeros(8192)))
    for batch in FilmLoader(film, STEPS):
        began = time.perf_counter()
        batch.images = augment(batch.images, AUGMENTATION, PREPROCESSING, torch_generator(0, batch.step))
        optimizer.zero_grad()
        embedding = network(batch.images)
        leaf = embedding.detach().requires_grad_()
        method.embed = lambda images, leaf=leaf: leaf  # type: ignore[method-assign]
        took = seconds(lambda batch=batch: sum(method.losses(batch).values()).backward())
        embedding.backward(leaf.grad)
        optimizer.step()
        shares.append(took / (time.perf_counter() - began))
        crops += len(batch.images)
    print(
        f"association and losses, queue of 8,192 full: {100 * sorted(shares)[STEPS // 2]:.1f} % of a step of "
        f"{crops / STEPS:.0f} crops (goal: < 5 %)"
    )


def feeding(times: int, shards: Path) -> None:
    """Processor time a crop of reading and decoding an epoch, all threads together, and how far the process grows meanwhile."""
    crops, opened, taken = 0, 0.0, 0.0

    def epoch() -> None:
        nonlocal crops, opened, taken
        began = time.perf_counter()
        film = FilmSet([shards], PREPROCESSING, PAIRS, 0)
        steps = film.plan.steps(0)
        opened = time.perf_counter() - began
        began = time.process_time()
        for batch in FilmLoader(film, steps):
            crops += len(batch.images)
        taken = time.process_time() - began

    memory = peak_gib(epoch)
    print(
        f"{times} x film ({SHOTS * times} shots): opened and planned in {opened:.2f} s; an epoch of {crops:,} crops, "
        f"{1e6 * taken / crops:.0f} us of processor time a crop; {1024 * memory:.0f} MiB above what was there before "
        f"({PAIRS.memory} of them may be decoded crops)"
    )


def write_film(folder: Path, shots: int) -> Path:
    """Shards of random crops, as large as those of people some way off."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(64):
        stream = io.BytesIO()
        coarse = rng.integers(0, 256, (20, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((80, 200), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=92)
        pictures.append(stream.getvalue())
    with FilmWriter(folder, "film", source="", settings="") as writer:
        for shot in range(shots):
            crops = [
                StoredCrop(
                    Crop(film="film", shot=shot, frame=7 * f, index=i, time=60 * shot + 0.28 * f),
                    pictures[(shot + f + 9 * i) % len(pictures)],
                )
                for f in range(FRAMES)
                for i in range(PEOPLE)
            ]
            writer.add(crops, {})
        writer.finish({})
    merge_listings(folder, ["film"])
    return folder


if __name__ == "__main__":
    main()
