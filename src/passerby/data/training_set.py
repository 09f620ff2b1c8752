"""Training samples with their labels counted through, and the batches made of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from passerby.data.cache import ImageCache, open_cache
from passerby.data.graph_sampling import GraphSampler
from passerby.data.images import Preprocessing, to_tensor
from passerby.data.sample import Sample
from passerby.data.sampling import (
    BatchSampler,
    BatchStream,
    DomainBalancedSampler,
    IdentityBalancedSampler,
    Indices,
    PlainSampler,
    place_in_group,
)
from passerby.data.settings import DataSettings
from passerby.errors import PasserbyError


@dataclass
class Batch:
    """One training batch.

    Attributes:
        images: uint8 [N, 3, H, W] as gathered; float32, augmented and normalised, when a method sees it.
        identity: int64 [N], class counted over all domains.
        camera: int64 [N], -1 where unknown.
        domain: int64 [N], 0 .. K - 1.
        step: step of the run, which seeds whatever is drawn for this batch.
        second: a batch drawn apart, for methods that ask for one.
    """

    images: Tensor
    identity: Tensor
    camera: Tensor
    domain: Tensor
    step: int
    second: "Batch | None" = None


class TrainingSet:
    """Samples of K domains, their images cached, identities counted through from 0.

    Attributes:
        samples: the samples that training sees.
        domains: names of the domains, in order.
        identity, camera, domain: int64 [N] labels.
        classes: number of identities.
        unreadable: messages about images that were left out.
    """

    def __init__(
        self,
        sources: Sequence[tuple[str, Sequence[Sample]]],
        preprocessing: Preprocessing,
        images_per_identity: int | None,
        seed: int,
        cache_folder: Path | None = None,
        share_of_identities: float = 1.0,
        share_of_images: float = 1.0,
    ) -> None:
        """Caches all images of all sources and chooses among them.

        Args:
            sources: (name of the domain, its samples).
            preprocessing: size of the cached images.
            images_per_identity: keeps at most so many images of each identity, spread over its cameras; None keeps all.
            seed: fixes every choice.
            cache_folder: where caches live.
            share_of_identities: keeps this share of the identities of each source, one at least.
            share_of_images: keeps this share of the images of each identity, one at least, spread over its cameras.

        Raises:
            PasserbyError: when a source is empty or unreadable.
        """
        self.domains = [name for name, _ in sources]
        self.samples: list[Sample] = []
        self.unreadable: list[str] = []
        self._caches: list[ImageCache] = []
        rows: list[int] = []
        domain: list[int] = []
        chosen = _some_people(sources, share_of_identities, seed)
        people: dict[tuple[str, int], int] = {}
        for k, (name, samples) in enumerate(sources):
            if not samples:
                raise PasserbyError(f"{name}: no training images")
            cache = open_cache(name, [s.image for s in samples], preprocessing, cache_folder)
            self._caches.append(cache)
            self.unreadable += cache.bad.values()
            readable = [
                row
                for row, sample in enumerate(samples)
                if row not in cache.bad and (sample.dataset, sample.identity) in chosen
            ]
            rows += readable
            domain += [k] * len(readable)
            self.samples += [samples[row] for row in readable]
            # A person belongs to a dataset: where it has several domains, it is one class in all of them.
            for person in sorted({(samples[row].dataset, samples[row].identity) for row in readable}):
                people.setdefault(person, len(people))
        identity = np.array([people[s.dataset, s.identity] for s in self.samples])
        camera = np.array([-1 if s.camera is None else s.camera for s in self.samples])
        most: int | Indices | None = images_per_identity
        if share_of_images < 1:
            share = np.maximum(1, np.round(share_of_images * np.bincount(identity))).astype(np.int64)[identity]
            most = share if images_per_identity is None else np.minimum(share, images_per_identity)
        kept = choose_images(identity, camera, most, np.random.default_rng([seed, 0x1D]))
        self.samples = [self.samples[index] for index in kept]
        self.identity, self.camera = identity[kept], camera[kept]
        self._rows, self.domain = np.array(rows)[kept], np.array(domain)[kept]
        self.classes = len(people)

    def gather(self, indices: Indices) -> Tensor:
        """Images by index, uint8 [len(indices), 3, H, W], channels_last."""
        out = np.empty((len(indices), *self._caches[0].images.shape[1:]), np.uint8)
        for k, cache in enumerate(self._caches):
            chosen = np.flatnonzero(self.domain[indices] == k)
            out[chosen] = cache.images[self._rows[indices[chosen]]]
        return to_tensor(out)

    def batch(self, indices: Indices, step: int) -> Batch:
        """The batch of these images, not yet augmented."""
        return Batch(
            self.gather(indices),
            torch.from_numpy(self.identity[indices]),
            torch.from_numpy(self.camera[indices]),
            torch.from_numpy(self.domain[indices]),
            step,
        )


class BatchLoader:
    """Batches of a training set in the order of a stream; its position is saved with the trainer's checkpoint."""

    def __init__(self, training_set: TrainingSet, stream: BatchStream, second: BatchStream | None = None) -> None:
        """Gathers from `training_set` what `stream` says, and with each batch a second one from `second`."""
        self.training_set, self.stream, self.second = training_set, stream, second

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.stream)

    def __iter__(self) -> Iterator[Batch]:
        """Batches up to the end of the epoch."""
        for step, indices in self.stream:
            batch = self.training_set.batch(indices, step)
            if self.second is not None:
                batch.second = self.training_set.batch(self.second.at(step), step)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The stream's position."""
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a saved position."""
        self.stream.load_state_dict(state)


def choose_images(identity: Indices, camera: Indices, most: int | Indices | None, rng: np.random.Generator) -> Indices:
    """At most `most` images of each identity, taken from its cameras in turn.

    Args:
        identity: [N].
        camera: [N].
        most: images to keep of each identity, or [N] of the identity of each image; None keeps all.
        rng: orders images within a camera and cameras within a turn.

    Returns:
        sorted indices of the kept images.
    """
    if most is None:
        return np.arange(len(identity))
    draw = rng.random(len(identity))
    turn = place_in_group(np.lexsort((draw, camera, identity)), identity * (camera.max() + 2) + camera)
    place = place_in_group(np.lexsort((draw, turn, identity)), identity)
    return np.flatnonzero(place < most)


def _some_people(sources: Sequence[tuple[str, Sequence[Sample]]], share: float, seed: int) -> set[tuple[str, int]]:
    """This share of the people of each dataset, one at least; who they are depends on the seed and the people alone."""
    people: dict[str, set[int]] = {}
    for _, samples in sources:
        for sample in samples:
            people.setdefault(sample.dataset, set()).add(sample.identity)
    chosen: set[tuple[str, int]] = set()
    for k, (dataset, identities) in enumerate(sorted(people.items())):
        order = np.random.default_rng([seed, 0x5A, k]).permutation(sorted(identities))
        chosen |= {(dataset, int(person)) for person in order[: max(1, round(share * len(order)))]}
    return chosen


def build_sampler(settings: DataSettings, training_set: TrainingSet, seed: int) -> BatchSampler:
    """The sampler that a recipe asks for.

    Raises:
        PasserbyError: when the data do not fill a batch.
    """
    p, q = settings.identities, settings.images_each
    if settings.batches == "plain":
        return PlainSampler(len(training_set.samples), p * q, seed)
    if settings.batches == "domain":
        return DomainBalancedSampler(training_set.identity, training_set.domain, p, q, seed)
    if settings.batches == "graph":
        return GraphSampler(training_set.identity, p, q, seed, settings.graph_batches)
    return IdentityBalancedSampler(training_set.identity, p, q, seed)
