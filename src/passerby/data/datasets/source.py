"""What a source trains on."""

from pathlib import Path

from passerby.data.datasets.base import Dataset, Images, Listing
from passerby.data.sample import DISTRACTOR, Sample
from passerby.errors import PasserbyError


def source_samples(dataset: Dataset, data_root: Path, images: Images) -> tuple[Sample, ...]:
    """Labelled images that a source trains on, each file once; junk and distractors are left out.

    Args:
        dataset: the dataset.
        data_root: folder of all datasets.
        images: `all` images of all folders that are there (train, query and gallery), or the official `train` part.

    Raises:
        PasserbyError: when the dataset has no training part, or nothing labelled is left.
    """
    return labelled_samples(dataset, dataset.scan(data_root), images)


def labelled_samples(dataset: Dataset, listing: Listing, images: Images) -> tuple[Sample, ...]:
    """`source_samples` of a listing that has been read already."""
    parts = dataset.source_parts(listing, images)
    if not parts:
        raise PasserbyError(
            f"{dataset.name}: no training part among {', '.join(listing.parts)}; "
            f"train on 'all' its images, or choose another source"
        )
    # A dict by file: a re-read of the same image in another part must not count twice.
    labelled = {s.image: s for part in parts for s in listing.parts[part] if s.identity != DISTRACTOR}
    if not labelled:
        raise PasserbyError(f"{dataset.name}: nothing to train on, no labelled image in {', '.join(parts)}")
    return tuple(labelled.values())
