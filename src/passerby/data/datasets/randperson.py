"""RandPerson, the subset of images that its paper trains on."""

import re
from pathlib import Path
from typing import ClassVar

from passerby.data.datasets.base import Dataset, FolderScan, Labels, Listing, Published

NAME = re.compile(r"(\d{6})_(?:s(\d{2})_c(\d{2})|c(\d{2})_s(\d{2}))_f\d+")
"""`000000_s00_c00_f000264`: person, scene, camera of the scene, frame. The first release had the camera first."""


def labels(match: re.Match[str]) -> Labels:
    """Identity and camera. Cameras are counted within a scene: 100 x scene + camera."""
    scene, camera = match[2] or match[5], match[3] or match[4]
    return int(match[1]), 100 * int(scene) + int(camera)


class RandPerson(Dataset):
    """RandPerson's subset: synthetic people, made for training: one part, `train`."""

    name = "randperson"
    title = "RandPerson (randperson_subset)"
    folders = (
        "randperson/randperson_subset",
        "randperson_subset/randperson_subset",
        "randperson_subset",
        "randperson/subset",
        "randperson",
    )
    layout = "images named like 000000_s00_c00_f000264.jpg"
    example = "000000_s00_c00_f000264.jpg"
    published: ClassVar = {
        "train": Published(8_000, 132_145, 19),
        "all": Published(8_000, 132_145, 19),
    }
    reference = "Wang, Liao and Shao, Surpassing Real-World Source Training Data: Random 3D Characters, ACM MM 2020"

    def scan(self, data_root: Path) -> Listing:
        """Reads the folder; see `Dataset.scan`."""
        scan = FolderScan(self, self.folder(data_root))
        scan.part("train", ".", NAME, labels)
        return scan.listing()
