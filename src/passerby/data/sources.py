"""Sources: the labelled datasets that a run trains on, by name or as `name=path`."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from passerby.data.datasets import get_dataset, source_samples
from passerby.data.datasets.base import Dataset
from passerby.data.sample import Sample
from passerby.errors import PasserbyError


@dataclass(frozen=True)
class Source:
    """A dataset opened for training.

    Attributes:
        domain: its name.
        samples: what trains, sorted by path.
        dataset: the dataset itself, with its terms of use.
    """

    domain: str
    samples: tuple[Sample, ...]
    dataset: Dataset


def open_sources(specs: Sequence[str], data_root: Path, images: Literal["all", "train"]) -> tuple[Source, ...]:
    """Opens every source of a run.

    Args:
        specs: names, or `name=path`.
        data_root: folder that holds the public datasets.
        images: all images of a source, or its train part.

    Raises:
        PasserbyError: when there are none, one stands twice, or one cannot be read.
    """
    if not specs:
        raise PasserbyError(
            "data.sources: empty; name the datasets to train on, as in --set data.sources=market1501,cuhk03"
        )
    datasets = [get_dataset(spec) for spec in specs]
    domains = [dataset.domain for dataset in datasets]
    for dataset in datasets:
        if domains.count(dataset.domain) > 1:
            raise PasserbyError(
                f"data.sources: the people of '{dataset.domain}' stand there twice; name each source once"
            )
        for other in sorted(dataset.same_people & set(domains)):
            raise PasserbyError(
                f"data.sources: {dataset.name} and {other} show the same people, who would count as two each; leave one out"
            )
    return tuple(Source(d.name, source_samples(d, data_root, images), d) for d in datasets)


def by_domain(samples: Iterable[Sample]) -> list[tuple[str, list[Sample]]]:
    """Splits a source by what its samples say of their domain: one, unless custom data names several."""
    domains: dict[str, list[Sample]] = {}
    for sample in samples:
        domains.setdefault(sample.domain, []).append(sample)
    return sorted(domains.items())


def by_camera(name: str, samples: Iterable[Sample]) -> list[tuple[str, list[Sample]]]:
    """Splits a source into its cameras, each a domain of its own.

    Raises:
        PasserbyError: when a sample has no camera.
    """
    cameras: dict[int, list[Sample]] = {}
    for sample in samples:
        if sample.camera is None:
            raise PasserbyError(f"{name}: {sample.image} has no camera; data.domains=camera needs camera labels")
        cameras.setdefault(sample.camera, []).append(sample)
    return [(f"{name}/c{camera}", cameras[camera]) for camera in sorted(cameras)]


def listing_digest(samples: Iterable[Sample]) -> str:
    """sha256 of the sorted (file name, identity, camera) of samples: the same on every machine."""
    lines = sorted(f"{s.domain}\t{s.image.name}\t{s.identity}\t{s.camera}" for s in samples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
