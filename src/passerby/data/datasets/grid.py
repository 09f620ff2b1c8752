"""GRID (QMUL underground re-identification)."""

import re
from pathlib import Path
from typing import ClassVar

from passerby.data.datasets.base import Dataset, FolderScan, Labels, Listing, Published
from passerby.data.sample import DISTRACTOR

NAME = re.compile(r"(\d{4})_(\d)_\d+(?:_\d+)*")
"""`0001_1_25004_107_32_106_221`: person (0000: nobody with a pair), camera, frame, box."""


def labels(match: re.Match[str]) -> Labels:
    """Identity and camera; 0000 is a distractor."""
    return int(match[1]) or DISTRACTOR, int(match[2])


class Grid(Dataset):
    """GRID: parts `probe` (250 people) and `gallery` (the same 250 and 775 distractors)."""

    name = "grid"
    title = "GRID (underground_reid)"
    folders = ("grid/underground_reid", "underground_reid", "grid")
    layout = "the folders probe and gallery"
    example = "0001_1_25004_107_32_106_221.jpeg"
    published: ClassVar = {
        "probe": Published(250, 250, None),
        "gallery": Published(250, 250, None),
        "all": Published(250, 500, 8),
    }
    reference = "Loy et al., Multi-Camera Activity Correlation Analysis, CVPR 2009"

    def scan(self, data_root: Path) -> Listing:
        """Reads the two folders; see `Dataset.scan`."""
        scan = FolderScan(self, self.folder(data_root))
        scan.part("probe", "probe", NAME, labels)
        scan.part("gallery", "gallery", NAME, labels)
        return scan.listing()
