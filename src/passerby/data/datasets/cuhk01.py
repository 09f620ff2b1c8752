"""CUHK01."""

import re
from pathlib import Path
from typing import ClassVar

from passerby.data.datasets.base import Dataset, FolderScan, Labels, Listing, Published

NAME = re.compile(r"(\d{4})00([1-4])")
"""`0001001`: person, then view."""


def labels(match: re.Match[str]) -> Labels:
    """Identity and camera: views 1 and 2 are of the first camera, 3 and 4 of the second."""
    return int(match[1]), (int(match[2]) + 1) // 2


class Cuhk01(Dataset):
    """CUHK01: one part, `all`. Its people are also pair P1 of CUHK02: the two never stand on opposite sides."""

    name = "cuhk01"
    title = "CUHK01"
    folders = ("cuhk01/campus", "cuhk01", "CUHK01/campus")
    layout = "images named like 0001001.png"
    example = "0001001.png"
    published: ClassVar = {"all": Published(971, 3_884, 2)}
    same_people: ClassVar = frozenset({"cuhk02"})
    reference = "Li et al., Human Reidentification with Transferred Metric Learning, ACCV 2012; research only"

    def scan(self, data_root: Path) -> Listing:
        """Reads the folder; see `Dataset.scan`."""
        scan = FolderScan(self, self.folder(data_root))
        scan.part("all", ".", NAME, labels)
        return scan.listing()
