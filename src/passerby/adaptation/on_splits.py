"""Adapting to the targets of an evaluation: anew on each split, on its gallery, never on queries or labels."""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from passerby.adaptation.base import Adaptation, wearing
from passerby.adaptation.camera import FEWEST_OF_A_CAMERA, CameraStatistics
from passerby.adaptation.crops import crops_at, read_crops
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
    camera's statistics from the gallery's images of it; where these are too few (`camera.FEWEST_OF_A_CAMERA`), or none, from those
    that the split leaves over too. No query and no label is looked at.

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
        self.camera_normalise, self.flip, self.seed, self.progress = camera_normalise, flip, seed, progress
        if adaptation is not None:
            if not isinstance(embedder, Model):
                raise PasserbyError(
                    f"{adaptation.name}: an .onnx file has no norms to adapt; use --camera-normalise, or a saved model"
                )
            adaptation.check(embedder)
        needed = dict.fromkeys(sample for split in target.splits for sample in self._needed(split))
        self.rows = {sample: row for row, sample in enumerate(needed)}
        paths = [sample.image for sample in needed]
        self.unadapted: Tensor | None = None
        if adaptation is None:
            self.unadapted = embedder.embed(paths, flip=flip, progress=progress)
        else:
            self.pixels, _ = read_crops(paths, embedder.preprocessing, progress=progress)
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
        """Queries, gallery, and what is left over of cameras that the gallery shows too little of, if that is looked at."""
        if not self.camera_normalise:
            return (*split.query, *split.gallery)
        there = Counter(sample.camera for sample in split.gallery)
        return (*split.query, *split.gallery, *(s for s in split.left_over if there[s.camera] < FEWEST_OF_A_CAMERA))

    def _features(self, split: Split, samples: Sequence[Sample]) -> Tensor:
        if self.unadapted is not None:
            return self.unadapted[[self.rows[s] for s in samples]]
        assert isinstance(self.embedder, Model)
        assert self.adaptation is not None
        gallery = crops_at(self.pixels, [self.rows[s] for s in split.gallery])
        with wearing(self.embedder, self.adaptation.adapt(self.embedder, gallery, self.seed)):
            pixels = crops_at(self.pixels, [self.rows[s] for s in samples])
            # Where there are several splits, theirs is the bar.
            progress = self.progress and len(self.target.splits) == 1
            return self.embedder.embed(pixels, flip=self.flip, progress=progress)

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
    cameras = {camera for sample in target.samples if (camera := sample.seen_by) is not None}
    if profile.cameras is not None and cameras and not cameras & set(profile.cameras.cameras):
        raise PasserbyError(
            f"--site: the profile knows the cameras {', '.join(filter(None, profile.cameras.cameras)) or 'none'}, {target.name} "
            f"has {', '.join(sorted(cameras))}; name them alike, or make a profile without --cameras"
        )
    with profile.on(embedder):
        features = embedded(embedder, target, flip=flip, progress=progress)

    def of_split(split: Split) -> tuple[Tensor, Tensor]:
        query, gallery = features(split)
        return profile.normalise(query, _cameras(split.query)), profile.normalise(gallery, _cameras(split.gallery))

    return of_split


def _cameras(samples: Sequence[Sample]) -> list[str | None]:
    return [sample.seen_by for sample in samples]
