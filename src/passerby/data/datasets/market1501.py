"""Market-1501, with and without its 500,000 distractors."""

import re
from pathlib import Path
from typing import ClassVar

from passerby.data.datasets.base import Dataset, FolderScan, Labels, Listing, Published
from passerby.data.sample import DISTRACTOR
from passerby.errors import PasserbyError

NAME = re.compile(r"(-1|\d{4})_c([1-6])(?:s\d+_\d{6}_\d{2}|_\d{9})(?:\.jpg)?")
"""`0002_c1s1_000451_03`, or `0002_c1_016620005` in re-splits without the sequence field; some files end in .jpg.jpg."""

DISTRACTOR_NAME = re.compile(r"(?:.*_c(\d).*|.*)")


def labels(match: re.Match[str]) -> Labels | None:
    """Identity and camera; -1 (a bad detection close to a person) is junk, 0000 (background) a distractor."""
    identity = int(match[1])
    if identity == -1:
        return None
    return (identity if identity > 0 else DISTRACTOR), int(match[2])


def distractor_labels(match: re.Match[str]) -> Labels:
    """An image of the 500k folder shows nobody who is searched for, whatever its name says."""
    return DISTRACTOR, int(match[1]) if match[1] else None


class Market1501(Dataset):
    """Market-1501: parts `train`, `query` and `gallery`; the gallery keeps its 2,798 distractors."""

    name = "market1501"
    title = "Market-1501-v15.09.15"
    folders = ("market1501/Market-1501-v15.09.15", "market1501", "Market-1501-v15.09.15")
    layout = "the folders bounding_box_train, query and bounding_box_test"
    example = "0002_c1s1_000451_03.jpg"
    published: ClassVar = {
        "train": Published(751, 12_936, 6),
        "query": Published(750, 3_368, 6),
        "gallery": Published(750, 13_115, 6),
        "all": Published(1_501, 29_419, 6),
    }
    reference = "Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015; academic use"

    def scan(self, data_root: Path) -> Listing:
        """Reads the three folders; see `Dataset.scan`."""
        return self._official_parts(data_root).listing()

    def _official_parts(self, data_root: Path) -> FolderScan:
        scan = FolderScan(self, self.folder(data_root))
        scan.part("train", "bounding_box_train", NAME, labels)
        scan.part("query", "query", NAME, labels)
        scan.part("gallery", "bounding_box_test", NAME, labels)
        return scan


class Market1501Distractors(Market1501):
    """Market-1501 whose gallery has the 500,000 distractors too; `distractors_500k` is the part of these alone."""

    name = "market1501-500k"
    title = "Market-1501 with its 500k distractors"
    layout = "the folders bounding_box_train, query, bounding_box_test and images (the distractors)"

    @property
    def domain(self) -> str:
        """That of Market-1501: the people are the same."""
        return Market1501.name

    def scan(self, data_root: Path) -> Listing:
        """Reads the three folders and the distractors' `images`; see `Dataset.scan`."""
        scan = self._official_parts(data_root)
        scan.part("distractors_500k", "images", DISTRACTOR_NAME, distractor_labels)
        if not scan.parts.get("distractors_500k"):
            raise PasserbyError(
                f"{self.name}: no distractors in {scan.root / 'images'}; unpack distractors_500k.zip there, "
                f"or name {Market1501.name} to go without"
            )
        if "gallery" in scan.parts:
            scan.parts["gallery"] += scan.parts["distractors_500k"]
        return scan.listing()
