"""CUHK02."""

import re
from pathlib import Path
from typing import ClassVar

from passerby.data.datasets.base import Dataset, FolderScan, Labels, Listing, Published

NAME = re.compile(r"P([1-5])/cam([12])/(\d{1,4})_[^/]+")
"""`P1/cam1/001_...`: camera pair, camera of the pair, person of the pair."""


def labels(match: re.Match[str]) -> Labels:
    """Identity and camera. People are counted within a pair: 10,000 x pair + person. Cameras: 1 to 10, two a pair."""
    pair = int(match[1])
    return 10_000 * pair + int(match[3]), 2 * (pair - 1) + int(match[2])


class Cuhk02(Dataset):
    """CUHK02: one part, `all`. Pair P1 shows the people of CUHK01: the two never stand on opposite sides."""

    name = "cuhk02"
    title = "CUHK02"
    folders = ("cuhk02/Dataset", "cuhk02", "CUHK02/Dataset")
    layout = "the folders P1 to P5, each with cam1 and cam2"
    example = "P1/cam1/001_1.png"
    published: ClassVar = {"all": Published(1_816, 7_264, 10)}
    same_people: ClassVar = frozenset({"cuhk01"})
    reference = "Li and Wang, Locally Aligned Feature Transforms across Views, CVPR 2013; research only"

    def scan(self, data_root: Path) -> Listing:
        """Reads the ten camera folders; see `Dataset.scan`."""
        scan = FolderScan(self, self.folder(data_root))
        if any((scan.root / f"P{pair}").is_dir() for pair in range(1, 6)):
            scan.part("all", ".", NAME, labels, recursive=True)
        return scan.listing()
