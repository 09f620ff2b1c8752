"""Adapting to the targets of an evaluation: anew on each split, on its gallery, never on queries or labels."""

from collections.abc import Sequence

from torch import Tensor

from passerby.adaptation.base import Adaptation, wearing
from passerby.adaptation.camera import CameraStatistics
from passerby.adaptation.crops import read_crops
from passerby.adaptation.profile import SiteProfile
from passerby.data.sample import Sample
from passerby.errors import PasserbyError
from passerby.evaluation.measure import SplitFeatures, embedded
from passerby.evaluation.targets import Split, Target
from passerby.models.embedder import Embedder
from passerby.models.model import Model


class AdaptedFeatures:
    """Features of the splits of a target, by a model that adapts to each split.

    The model adapts on the images of the split's gallery, then embeds queries and gallery. Camera normalisation takes a
    camera's statistics from the gallery's images of it; of a camera that the gallery lacks, from the images that the split
    leaves over. No query and no label is looked at.

    Attributes:
        images: how many images each split adapted to, on average.
    """

    def __init__(
        self,
        embedder: Embedder,
        target: Target,
        adaptation: Adaptation | None,
        camera_normalise: bool,
        flip: bool = False,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        """Reads the images that will be needed.

        Raises:
            PasserbyError: for an image that cannot be read, or a model that cannot be adapted this way.
        """
        self.embedder, self.target, self.adaptation = embedder, target, adaptation
        self.camera_normalise, self.flip, self.seed = camera_normalise, flip, seed
        if adaptation is not None:
            if not isinstance(embedder, Model):
                raise PasserbyError(
                    f"--adapt {adaptation.name}: an .onnx file has no norms to adapt; use --camera-normalise, or a saved model"
                )
            adaptation.check(embedder)
        needed = dict.fromkeys(sample for split in target.splits for sample in self._needed(split))
        self.rows = {sample: row for row, sample in enumerate(needed)}
        self.pixels, _ = read_crops([s.image for s in needed], embedder.preprocessing, progress=progress)
        self.unadapted = self._embed(list(needed)) if adaptation is None else None
        self.images = sum(self._adapt_to(split) for split in target.splits) / len(target.splits)

    def __call__(self, split: Split) -> tuple[Tensor, Tensor]:
        """Embeddings of the split's queries [Q, D] and gallery [G, D], rows of length 1."""
        samples = self._needed(split)
        features = self._features(split, samples)
        queries, end = len(split.query), len(split.query) + len(split.gallery)
        query, gallery = features[:queries], features[queries:end]
        if not self.camera_normalise:
            return query, gallery
        statistics = CameraStatistics.of(features[queries:], _cameras(samples[queries:]))
        return (
            statistics.normalise(query, _cameras(split.query)),
            statistics.normalise(gallery, _cameras(split.gallery)),
        )

    def _needed(self, split: Split) -> tuple[Sample, ...]:
        """Queries, gallery, and what is left over of cameras that the gallery lacks, if that is looked at."""
        if not self.camera_normalise:
            return (*split.query, *split.gallery)
        there = {sample.camera for sample in split.gallery}
        return (*split.query, *split.gallery, *(s for s in split.left_over if s.camera not in there))

    def _features(self, split: Split, samples: Sequence[Sample]) -> Tensor:
        if self.unadapted is not None:
            return self.unadapted[[self.rows[s] for s in samples]]
        assert isinstance(self.embedder, Model)
        assert self.adaptation is not None
        gallery = self.pixels[[self.rows[s] for s in split.gallery]]
        with wearing(self.embedder, self.adaptation.adapt(self.embedder, gallery, self.seed)):
            return self._embed(samples)

    def _embed(self, samples: Sequence[Sample]) -> Tensor:
        return self.embedder.embed(self.pixels[[self.rows[s] for s in samples]], flip=self.flip)

    def _adapt_to(self, split: Split) -> int:
        if self.adaptation is None:
            return 0
        return min(len(split.gallery), self.adaptation.images or len(split.gallery))


def site_features(
    embedder: Embedder, target: Target, profile: SiteProfile, *, flip: bool = False, progress: bool = False
) -> SplitFeatures:
    """Features of the splits of a target by a model that wears a site profile.

    Raises:
        PasserbyError: for an image that cannot be read, or a profile of another model.
    """
    if not isinstance(embedder, Model):
        raise PasserbyError("--site: a site profile belongs to a saved model, not to an .onnx file")
    cameras = {str(sample.camera) for sample in target.samples if sample.camera is not None}
    if profile.cameras is not None and cameras and not cameras & set(profile.cameras.cameras):
        raise PasserbyError(
            f"--site: the profile knows the cameras {', '.join(filter(None, profile.cameras.cameras)) or 'none'}, {target.name} "
            f"has {', '.join(sorted(cameras))}; name them alike, or make a profile without --cameras"
        )
    with profile.on(embedder):
        features = embedded(embedder, target, flip=flip, progress=progress)

    def of_split(split: Split) -> tuple[Tensor, Tensor]:
        query, gallery = features(split)
        if profile.cameras is None:
            return query, gallery
        return (
            profile.cameras.normalise(query, _cameras(split.query)),
            profile.cameras.normalise(gallery, _cameras(split.gallery)),
        )

    return of_split


def _cameras(samples: Sequence[Sample]) -> list[str | None]:
    return [None if sample.camera is None else str(sample.camera) for sample in samples]
