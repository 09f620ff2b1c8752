"""PRID-2011, single shot."""

import re
from pathlib import Path
from typing import ClassVar

from passerby.data.datasets.base import Dataset, FolderScan, Labels, Listing, Published

NAME = re.compile(r"person_(\d{4})")
"""`person_0001`."""

SHARED = 200
"""People 1 to 200 were seen by both cameras. Above, the same number in the other folder is somebody else."""


def labels_a(match: re.Match[str]) -> Labels:
    """Identity and camera of an image of cam_a: identities 1 to 385."""
    return int(match[1]), 1


def labels_b(match: re.Match[str]) -> Labels:
    """Identity and camera of an image of cam_b: identities 1 to 200 as in cam_a, then 1,201 to 1,749."""
    person = int(match[1])
    return (person if person <= SHARED else 1_000 + person), 2


class Prid(Dataset):
    """PRID-2011 single shot: parts `cam_a` (385 people) and `cam_b` (749 people), 200 of them in both."""

    name = "prid"
    title = "PRID 2011"
    folders = ("prid2011/prid_2011", "prid_2011", "prid2011")
    layout = "the folders single_shot/cam_a and single_shot/cam_b"
    example = "person_0001.png"
    published: ClassVar = {
        "cam_a": Published(385, 385, 1),
        "cam_b": Published(749, 749, 1),
        "all": Published(934, 1_134, 2),
    }
    reference = "Hirzer et al., Person Re-Identification by Descriptive and Discriminative Classification, SCIA 2011"

    def scan(self, data_root: Path) -> Listing:
        """Reads the two camera folders; see `Dataset.scan`."""
        scan = FolderScan(self, self.folder(data_root))
        scan.part("cam_a", "single_shot/cam_a", NAME, labels_a)
        scan.part("cam_b", "single_shot/cam_b", NAME, labels_b)
        return scan.listing()
