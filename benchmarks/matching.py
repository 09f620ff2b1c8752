"""Matching by places: over the bare matrix products, over one einsum, the cascade over exact matching, and TAL's step over QAConv-GS's.

    python benchmarks/matching.py [--quick] [--model RUN]

Goals: full matching of 316 x 316 images at 24x8 places of 128 channels at most 1.2 x the bare products, and at least 2.5 x faster
than one einsum a block of 32; the cascade at k = 200 of 2,000 synthetic people at least 8 x faster than exact, rank-1 within 0.3
points; a TAL step with three experts at most 4 x a QAConv-GS step. --quick takes a third of the images, a tenth of the queries and
no training steps.

Without --model people are described without any training, which tells about time and little about accuracy; with it there is the
cascade of that trained model alone.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from common import THREADS, peak_gib, seconds
from torch import Tensor

from passerby.data.augment import Augmentation
from passerby.data.images import Preprocessing
from passerby.data.synthetic import SyntheticDomain
from passerby.data.training_set import Batch
from passerby.evaluation.cascade import Cascade
from passerby.evaluation.ranking import rank_scores
from passerby.evaluation.ranking_labels import Labels
from passerby.matching.map_matcher import CACHED, MapMatcher
from passerby.matching.maps import MapLayout
from passerby.matching.qaconv import MSQAConv
from passerby.matching.settings import MatcherSettings
from passerby.memory import keep_freed_memory
from passerby.methods.base import TrainingFacts
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.methods.qaconv import MatchingMethod, QaConv, QaConvSettings
from passerby.methods.tal import Tal, TalSettings
from passerby.models.load import load
from passerby.models.matching_model import MatchingModel, build_model, striped
from passerby.models.model import Architecture
from passerby.models.norm_kinds import BankSettings

CHANNELS, ROUNDS = 128, 3
TALL, SMALL = ((24, 8),), ((8, 4), (8, 4))


class Described(NamedTuple):
    """Images as a matcher takes them: queries first, then the gallery, one image of each person."""

    matcher: MapMatcher
    embedding: Tensor
    rows: Tensor
    identity: Tensor


def full_matching(images: int) -> None:
    """Matching of all with all beside its matrix products alone, and beside one einsum a block."""
    matcher = MSQAConv(MapLayout(CHANNELS, TALL)).eval()
    places = matcher.layout.places[0]
    generator = torch.Generator().manual_seed(0)
    query, gallery = (F.normalize(torch.randn(images, places, CHANNELS, generator=generator), dim=2) for _ in range(2))
    rows = query.flatten(1), gallery.flatten(1)

    def products(block_gallery: int = 4) -> None:
        columns = max(1, CACHED // (4 * places * places) // block_gallery)
        memory = torch.empty(block_gallery * places * columns * places)
        for start in range(0, images, block_gallery):
            block = gallery[start : start + block_gallery].reshape(-1, CHANNELS)
            for left in range(0, images, columns):
                part = query[left : left + columns].reshape(-1, CHANNELS)
                out = memory[: len(block) * len(part)].view(len(block), len(part))
                torch.mm(block, part.T, out=out)

    def one_einsum(block: int = 32) -> None:
        weight, shift = matcher.folded()
        scores = []
        for start in range(0, images, block):
            every = torch.einsum("qpc,grc->qgpr", query, gallery[start : start + block])
            vectors = torch.cat([every.amax(2), every.amax(3)], -1).view(-1, places)
            scores.append((vectors @ weight).view(images, -1, 2).sum(2) + shift)
        torch.cat(scores, 1)

    with torch.no_grad():
        works = (lambda: matcher.score(*rows), products, one_einsum)
        matching, bare, einsum = best(works)
        memory = peak_gib(lambda: matcher.score(*rows)), peak_gib(one_einsum)
    print(
        f"matching {images} x {images} at 24x8: {matching / bare:.2f} x the bare products (goal: 1.2), which take {bare:.1f} s; "
        f"{einsum / matching:.1f} x faster than one einsum (goal: 2.5); peak {memory[0]:.2f} GiB, the einsum's {memory[1]:.2f} GiB"
    )


def cascade(described: Described, queries: int, k: int) -> None:
    """The cascade beside exact matching: time and rank-1."""
    matcher, embedding, rows, identity = described
    people = len(identity) - queries
    query, gallery = torch.arange(queries), torch.arange(queries, queries + people)
    labels = Labels(identity[query], identity[gallery])
    runs: dict[str, Cascade] = {}

    def search(name: str, most: int | None) -> None:
        runs[name] = Cascade(matcher, (embedding[query], embedding[gallery]), (rows, query, gallery), most)

    exact, fast = best((lambda: search("exact", None), lambda: search("fast", k)), rounds=1)
    rank1 = {name: 100 * float(rank_scores(run.scores().blocks(), labels).cmc(1)[0]) for name, run in runs.items()}
    print(
        f"cascade at {matcher.layout}, the first {k} of {people}: {exact / fast:.1f} x faster than exact (goal: 8), which takes "
        f"{exact:.1f} s for {queries} queries; rank-1 {rank1['fast']:.1f} %, exact {rank1['exact']:.1f} % (goal: within 0.3)"
    )


def training_steps() -> None:
    """One step of TAL with three experts beside one of QAConv-GS: MobileNetV2 at 128x64, 64 images."""
    plain = method(QaConv, QaConvSettings(), "batch", MatcherSettings(kind="qaconv"), BankSettings())
    bank = BankSettings(domains=3, affine="own", attention=16)
    both = MatcherSettings(kind="qaconv", specific="attention", invariant="mix")
    tal = method(Tal, TalSettings(), "domain", both, bank)
    batch = random_batch()
    step_of_tal, step = best((lambda: train_step(tal, batch), lambda: train_step(plain, batch)))
    print(f"a TAL step with K = 3: {step_of_tal / step:.2f} x a QAConv-GS step (goal: 4), which takes {step:.2f} s")


def train_step(trained: MatchingMethod, batch: Batch) -> None:
    """Forward and backward of all losses."""
    trained.zero_grad()
    torch.stack(list(trained.losses(batch).values())).sum().backward()


def method(kind, settings, norm, matcher, bank) -> MatchingMethod:  # type: ignore[no-untyped-def]
    """A method outside of a trainer, its logging switched off."""
    facts = TrainingFacts(1000, 3, 100, 0, OptimizerSettings(), ScheduleSettings(), Augmentation())
    architecture = Architecture(
        backbone="mobilenetv2_100", stages=("blocks.4", "blocks.6"), norm=norm, matcher=matcher, bank=bank
    )
    made: MatchingMethod = kind(build_model(architecture, Preprocessing(height=128, width=64)), facts, settings)
    made.log = lambda *args, **options: None  # type: ignore[method-assign]
    return made


def random_batch() -> Batch:
    """64 images: 4 of each of 16 people of three domains."""
    identity = torch.arange(64) // 4
    pixels = torch.randn(64, 3, 128, 64, generator=torch.Generator().manual_seed(0))
    return Batch(pixels.contiguous(memory_format=torch.channels_last), identity, identity * 0, identity % 3, 0)


def synthetic_people(people: int, queries: int) -> tuple[np.ndarray, Tensor]:
    """Pixels [N, h, w, 3] of `queries` images, then of one other image of each of `people`; and who they show."""
    domain = SyntheticDomain("sunny-plaza", identities=people)
    by_person: dict[int, list[int]] = {}
    for index in range(len(domain.identity)):
        by_person.setdefault(int(domain.identity[index]), []).append(index)
    views = list(by_person.values())
    chosen = [v[-1] for v in views[:queries]] + [v[0] for v in views]
    return domain.render(np.array(chosen)), torch.tensor([*range(queries), *range(people)])


def by_model(folder: str, people: int, queries: int) -> Described:
    """Described by a trained model."""
    model = load(folder)
    if not isinstance(model, MatchingModel):
        sys.exit(f"{folder}: this model compares embeddings alone; give one that was trained with a matcher")
    pixels, identity = synthetic_people(people, queries)
    return Described(model.eval().matcher, *model.describe(list(pixels)), identity)


def by_hand(sizes: Sequence[tuple[int, int]], people: int, queries: int) -> Described:
    """Described without training: colours, their squares and their edges by place, projected at random."""
    pixels, identity = synthetic_people(people, queries)
    matcher = MSQAConv(MapLayout(CHANNELS, tuple(sizes))).eval()
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5
    edges = [F.pad(images.diff(dim=3), (0, 1)), F.pad(images.diff(dim=2), (0, 0, 0, 1))]
    features = torch.cat([images, images**2, *(e.abs() for e in edges)], 1)
    generator = torch.Generator().manual_seed(1)
    maps = []
    for size in sizes:
        cells = F.adaptive_avg_pool2d(features, size)
        cells = (cells - cells.mean((0, 2, 3), keepdim=True)) / cells.std((0, 2, 3), keepdim=True)
        projection = torch.randn(CHANNELS, cells.shape[1], generator=generator)
        maps.append(F.normalize(torch.tanh(torch.einsum("dc,nchw->ndhw", projection, cells)), dim=1))
    rows = matcher.layout.row([m[None] for m in maps]).half()
    embedding = F.normalize(striped(maps, MatcherSettings().stripes))
    return Described(matcher, embedding, rows, identity)


def best(works, rounds: int = ROUNDS) -> list[float]:  # type: ignore[no-untyped-def]
    """Fastest time of each; they take turns, after a round to warm up where there are several."""
    times = [[seconds(work) for work in works] for _ in range(rounds + (rounds > 1))]
    return [min(of_one) for of_one in zip(*times, strict=True)]


def main() -> None:
    """Prints every ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="a third of the images, a tenth of the queries, no training"
    )
    parser.add_argument("--model", help="a trained model with a matcher: its cascade alone")
    options = parser.parse_args()
    quick, queries = options.quick, 100 if options.quick else 1000
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    if options.model:
        cascade(by_model(options.model, 2000, queries), queries, 200)
        return
    full_matching(100 if quick else 316)
    for sizes in (TALL, SMALL):
        cascade(by_hand(sizes, 2000, queries), queries, 200)
    if not quick:
        training_steps()


if __name__ == "__main__":
    main()
