"""Targets of a few tiny pictures, measured with features made up for the test."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from passerby.data.sample import Sample
from passerby.evaluation.measure import Measurement, measure
from passerby.evaluation.records import Record, Trained
from passerby.evaluation.targets import Split, Target

Make = Callable[..., Measurement]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes a measurement: camera 0 saw people 1, 2, ... as queries and as junk, camera 1 as right gallery images."""

    def build(
        name: str = "plaza",
        people: int = 12,
        distractors: int = 3,
        splits: int = 2,
        reranked: bool = False,
        noise: float = 0.4,
        cameras: bool = True,
    ) -> Measurement:
        folder = tmp_path_factory.mktemp("images")
        generator = torch.Generator().manual_seed(people)
        centres = torch.randn(people + 1, 8, generator=generator)
        features: dict[Path, Tensor] = {}

        def sample(stem: str, identity: int, camera: int) -> Sample:
            path = folder / f"{stem}.png"
            Image.new("RGB", (8, 16), (20 * identity % 256, 40, 90)).save(path)
            noisy = centres[identity] + noise * torch.randn(8, generator=generator)
            features[path] = noisy / noisy.norm()
            return Sample(path, identity, camera if cameras else None, name)

        persons = range(1, people + 1)
        query = tuple(sample(f"{name}-q{p}", p, 0) for p in persons)
        junk = tuple(sample(f"{name}-j{p}", p, 0) for p in persons)
        right = tuple(sample(f"{name}-g{p}", p, 1) for p in persons)
        nobody = tuple(sample(f"{name}-d{n}", -1, 1) for n in range(distractors))
        cuts = [Split(query[n:], (*junk, *right, *nobody), ()) for n in range(splits)]
        target = Target(name, tuple(cuts), f"{name}-{splits}-abc123", "cam_a -> cam_b")

        def of_split(split: Split) -> tuple[Tensor, Tensor]:
            query, gallery = (torch.stack([features[s.image] for s in side]) for side in (split.query, split.gallery))
            return query, gallery

        return measure(target, of_split, reranked=reranked)

    return build


@pytest.fixture(scope="module")
def record() -> Callable[..., Record]:
    """Makes the record of a measurement; keywords change it."""

    def build(measurement: Measurement, **changes: object) -> Record:
        target = measurement.target
        entry = Record(
            protocol="free",
            target=target.name,
            domain=target.name,
            split_id=target.split_id,
            direction=target.direction,
            splits=len(target.splits),
            queries=sum(len(split.query) for split in target.splits),
            gallery=sum(len(split.gallery) for split in target.splits),
            target_listing_sha256="ab" * 32,
            metrics=measurement.metrics(),
            reranked=measurement.reranked,
            model="small",
            weights_sha256="0123456789abcdef" * 4,
            training=Trained(
                recipe="baseline-tiny",
                recipe_sha256="ef" * 32,
                overrides=("trainer.lr=0.1",),
                budget="quick",
                seed=3,
                steps=960,
                sources=("one", "two"),
                source_listing_sha256=("aa", "bb"),
                seconds=90,
                peak_mib=1500,
            ),
            code_version="0.1.0",
            machine="Linux x86_64",
            seconds=1.5,
            date="2026-01-02",
        )
        return entry.model_copy(update=changes)

    return build
