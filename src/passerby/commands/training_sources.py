"""What a run trains on: labelled sources, or film."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from passerby.adaptation.shift import LOOKED_AT
from passerby.commands.fitting import FilmData, TrainingData
from passerby.commands.warnings import caution, warn
from passerby.data.images import Pixels, Preprocessing
from passerby.data.people import write_people
from passerby.data.sampling import BatchSampler
from passerby.data.settings import DataSettings
from passerby.data.sources import Source, by_camera, by_domain, listing_digest, open_sources
from passerby.data.training_set import TrainingSet, build_sampler
from passerby.data.video.film_loader import steps_of_crops, steps_of_epochs
from passerby.data.video.film_set import FilmBatch, FilmSet
from passerby.errors import PasserbyError, first_of
from passerby.methods import get_method
from passerby.methods.base import Method
from passerby.models.saved import TrainedOn
from passerby.recipes import Recipe


@dataclass(frozen=True)
class Training:
    """Everything that a run trains on, ready.

    Attributes:
        classes, domains, domain_names, steps, span: as in `TrainingFacts`.
        trained_on: what the card says of it.
        data: batches for a method.
        examples: of each domain, or of some, a few images [n, H, W, 3], which is read when called.
    """

    classes: int
    domains: int
    domain_names: tuple[str, ...]
    steps: int
    trained_on: tuple[TrainedOn, ...]
    data: Callable[[Method], TrainingData | FilmData]
    examples: Callable[[], dict[str, Pixels]]
    span: float = math.inf


class LabelledSources:
    """Labelled datasets.

    Attributes:
        facts: what else than the recipe decides the run: a digest of each source.
    """

    def __init__(self, recipe: Recipe, data_root: Path, seed: int) -> None:
        """Lists the sources; no image is read.

        Raises:
            PasserbyError: when there are none, or one cannot be listed.
        """
        self._recipe, self._seed = recipe, seed
        warn(recipe.data.sources)
        self._sources = open_sources(recipe.data.sources, data_root, recipe.data.images)
        self.facts = {"data": {source.domain: listing_digest(source.samples) for source in self._sources}}

    def load(self, preprocessing: Preprocessing) -> Training:
        """Decodes the images.

        Raises:
            PasserbyError: when they do not fill a batch.
        """
        settings, trainer = self._recipe.data, self._recipe.trainer
        domains = [part for source in self._sources for part in by_domain(source.samples)]
        if settings.domains == "camera":
            domains = [part for source in self._sources for part in by_camera(source.domain, source.samples)]
        training_set = TrainingSet(
            domains,
            preprocessing,
            settings.images_per_identity,
            self._seed,
            share_of_identities=settings.share_of_identities,
            share_of_images=settings.share_of_images,
        )
        for message in training_set.unreadable:
            caution(f"left out: {message}")
        sampler = build_sampler(settings, training_set, self._seed)
        return Training(
            classes=training_set.classes,
            domains=len(training_set.domains),
            domain_names=tuple(training_set.domains),
            steps=trainer.max_epochs * sampler.batches if trainer.max_steps is None else trainer.max_steps,
            trained_on=tuple(_describe(source, training_set) for source in self._sources),
            data=lambda method: _batches(method, training_set, sampler),
            examples=lambda: _examples(training_set, self._seed),
        )


class FilmSources:
    """Shards of crops from film.

    Attributes:
        facts: what else than the recipe decides the run: a digest of each set, and how long the run is.
    """

    def __init__(self, recipe: Recipe, data_root: Path, seed: int) -> None:
        """Opens the shards and plans the run; no crop is read.

        Raises:
            PasserbyError: when there are none, they are damaged, or frames cannot be drawn from them.
        """
        settings, trainer = recipe.data, recipe.trainer
        preprocessing = Preprocessing(height=settings.height, width=settings.width)
        folders = shard_folders(settings.shards, data_root)
        self._film = FilmSet(folders, preprocessing, settings.film, seed, trainer.devices)
        plan = self._film.plan
        if trainer.max_crops:
            self._steps = steps_of_crops(plan, trainer.max_crops)
        else:
            steps = trainer.max_steps
            self._steps = steps_of_epochs(plan, trainer.max_epochs) if steps is None else steps
        self.facts = {"data": dict(zip(self._film.names, self._film.digests, strict=True)), "steps": self._steps}
        self._tell()

    def _tell(self) -> None:
        shots, plan = sum(len(shards.shots) for shards in self._film.shards), self._film.plan
        for count, what in (
            (
                shots - len(plan.shots),
                f"of {shots} shots are left out: they have no two frames close enough in time"
                + (", or are beyond data.film.share" if plan.settings.share < 1 else ""),
            ),
            (plan.crowded, f"frames show more than {plan.settings.crops} people; of these the largest count"),
        ):
            if count:
                caution(f"data.shards: {count} {what}")

    def super_frame(self) -> FilmBatch:
        """The first super frame of the plan, as decoded."""
        return self._film.batch(self._film.plan.super_frame(0, 0), 0)

    def load(self, preprocessing: Preprocessing) -> Training:
        """What a method trains on; crops are read while it does."""
        return Training(
            classes=0,
            domains=len(self._film.plan.shots),
            domain_names=(),
            steps=self._steps,
            trained_on=self._describe(),
            data=lambda _: FilmData(self._film, self._steps),
            examples=lambda: {" + ".join(self._film.names): self._film.examples(LOOKED_AT)},
            span=self._film.span,
        )

    def _describe(self) -> tuple[TrainedOn, ...]:
        """Each set: what of it is drawn from."""
        described = []
        for name, digest, shards in zip(self._film.names, self._film.digests, self._film.shards, strict=True):
            drawn = [key for own, key in self._film.drawn if own is shards]
            described.append(
                TrainedOn(
                    domain=name,
                    people="",
                    identities=0,
                    images=sum(key.shot.crops for key in drawn),
                    listing_sha256=digest,
                    terms="film; its owner says how it may be used",
                    film=first_of(list(dict.fromkeys(key.film.name for key in drawn))),
                    hours=round(sum(key.shot.end - key.shot.start for key in drawn) / 3600, 4),
                )
            )
        return tuple(described)


_OF_FILM = {"film"}
_OF_BOTH = {"height", "width", "augment"}
_OF_LABELS = set(DataSettings.model_fields) - _OF_FILM - _OF_BOTH - {"sources", "shards"}
"""Settings of the data that mean something to methods of either kind; sources and shards the recipe refuses itself."""


def open_training(recipe: Recipe, data_root: Path, seed: int) -> LabelledSources | FilmSources:
    """What a recipe's method learns from.

    Raises:
        PasserbyError: when it cannot be opened.
    """
    learns_from = get_method(recipe.method.name).learns_from
    plain = DataSettings()
    for key in sorted(_OF_LABELS if learns_from == "film" else _OF_FILM):
        if getattr(recipe.data, key) != getattr(plain, key):
            caution(f"data.{key} does nothing: {recipe.method.name} learns from {learns_from}")
    return FilmSources(recipe, data_root, seed) if learns_from == "film" else LabelledSources(recipe, data_root, seed)


def shard_folders(specs: Sequence[str], data_root: Path) -> list[Path]:
    """Folders of shards: as they are given, or else in the data root.

    Raises:
        PasserbyError: for one that is in neither place.
    """
    folders = []
    for spec in specs:
        found = next((folder for folder in (Path(spec), data_root / spec) if folder.is_dir()), None)
        if found is None:
            raise PasserbyError(
                f"data.shards: no folder {spec}, here or in {data_root}; `passerby ingest FILM --out {spec}` makes one"
            )
        folders.append(found)
    return folders


def _describe(source: Source, training_set: TrainingSet) -> TrainedOn:
    trained = [s for s in training_set.samples if s.dataset == source.domain]
    people = {s.identity for s in trained}
    return TrainedOn(
        domain=source.domain,
        people=write_people(people),
        identities=len(people),
        images=len(trained),
        listing_sha256=listing_digest(source.samples),
        terms=source.dataset.reference,
    )


def _batches(method: Method, training_set: TrainingSet, sampler: BatchSampler) -> TrainingData:
    method.prepare_sampler(sampler, training_set)
    return TrainingData(training_set, sampler, method.second_sampler(training_set))


def _examples(training_set: TrainingSet, seed: int) -> dict[str, Pixels]:
    rng = np.random.default_rng([seed, 0xFA])
    examples = {}
    for k, domain in enumerate(training_set.domains):
        there = np.flatnonzero(training_set.domain == k)
        chosen = np.sort(rng.choice(there, min(LOOKED_AT, len(there)), replace=False))
        examples[domain] = training_set.gather(chosen).permute(0, 2, 3, 1).numpy()
    return examples
