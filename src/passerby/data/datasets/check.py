"""Is what lies on disk the dataset as published?"""

from dataclasses import dataclass
from pathlib import Path

from passerby.data.datasets.base import Dataset, Published
from passerby.data.datasets.source import labelled_samples
from passerby.data.sample import DISTRACTOR, Sample

FIRST_MISFITS = 5


@dataclass(frozen=True)
class PartCount:
    """What one part holds, beside what is published.

    Attributes:
        part: name of the part; `all` is everything that a source may train on.
        identities: people, distractors apart.
        images: images of these people.
        cameras: cameras of these images; None when no image says its camera.
        distractors: images of nobody who is searched for.
        published: published counts, None where there are none.
    """

    part: str
    identities: int
    images: int
    cameras: int | None
    distractors: int
    published: Published | None

    @property
    def agrees(self) -> bool | None:
        """Whether people, images and (where published) cameras are as published; None when nothing is published."""
        if self.published is None:
            return None
        return (self.identities, self.images) == (self.published.identities, self.published.images) and (
            self.published.cameras in (None, self.cameras)
        )


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Attributes:
        dataset: its name.
        title: its official title.
        reference: paper and terms.
        folder: where it lies.
        parts: counts by part, `all` last.
        misfits: how many files do not fit.
        first_misfits: the first few of them.
        warnings: what to know before using it, one line each.
    """

    dataset: str
    title: str
    reference: str
    folder: Path
    parts: tuple[PartCount, ...]
    misfits: int
    first_misfits: tuple[str, ...]
    warnings: tuple[str, ...]


def check(dataset: Dataset, data_root: Path) -> CheckReport:
    """Counts a dataset's parts and sets them beside the published counts.

    Raises:
        PasserbyError: when the folder is missing, empty or laid out otherwise.
    """
    listing = dataset.scan(data_root)
    counted = {part: samples for part, samples in listing.parts.items() if part != "all"}
    # Distractors of `all` are those of the listing: a source leaves them out.
    distractors = tuple(sample for sample in listing.samples if sample.identity == DISTRACTOR)
    counted["all"] = (*labelled_samples(dataset, listing, "all"), *distractors)
    absent = [part for part in dataset.published if part not in counted]
    warnings = [dataset.warning] if dataset.warning else []
    if absent:
        warnings.append(f"not there: {', '.join(absent)}")
    return CheckReport(
        dataset=dataset.name,
        title=dataset.title,
        reference=dataset.reference,
        folder=dataset.folder(data_root),
        parts=tuple(count_part(part, samples, dataset.published.get(part)) for part, samples in counted.items()),
        misfits=len(listing.misfits),
        first_misfits=listing.misfits[:FIRST_MISFITS],
        warnings=tuple(warnings),
    )


def count_part(part: str, samples: tuple[Sample, ...], published: Published | None) -> PartCount:
    """Counts one part."""
    labelled = [sample for sample in samples if sample.identity != DISTRACTOR]
    cameras = {sample.camera for sample in labelled} - {None}
    return PartCount(
        part=part,
        identities=len({sample.identity for sample in labelled}),
        images=len(labelled),
        cameras=len(cameras) or None,
        distractors=len(samples) - len(labelled),
        published=published,
    )
