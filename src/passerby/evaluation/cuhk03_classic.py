"""CUHK03 as it was first evaluated: twenty test sets of 100 people, single gallery shot."""

from pathlib import Path

from passerby.data.datasets.base import Listing
from passerby.data.datasets.cuhk03_release import classic_test_sets
from passerby.data.sample import Sample

NAMES = {"cuhk03-classic": "cuhk03", "cuhk03-labeled-classic": "cuhk03-labeled"}
"""Target and the dataset that it is made of: detected and labelled boxes."""

DIRECTION = "first view -> second view"


def classic_splits(listing: Listing, boxes: str, release: Path) -> list[tuple[tuple[Sample, ...], tuple[Sample, ...]]]:
    """Queries and gallery of each test set: all images of its people, the first view of a camera pair queries the second.

    Args:
        listing: of the extracted images.
        boxes: part of the listing, `detected` or `labeled`.
        release: cuhk-03.mat, which holds the test sets.

    Raises:
        PasserbyError: when the release is missing or damaged.
    """
    splits = []
    for people in classic_test_sets(release):
        tested = [s for s in listing.parts[boxes] if s.identity in set(people)]
        query = tuple(s for s in tested if s.camera is not None and s.camera % 2 == 1)
        splits.append((query, tuple(s for s in tested if s.camera is not None and s.camera % 2 == 0)))
    return splits
