"""QMUL i-LIDS."""

import re
from pathlib import Path
from typing import ClassVar

from passerby.data.datasets.base import Dataset, FolderScan, Listing, Published

NAME = re.compile(r"(\d{4})\d{3}")
"""`0001001`: person, then the number of the image."""


class Ilids(Dataset):
    """QMUL i-LIDS: one part, `all`; nothing says which camera took an image."""

    name = "ilids"
    title = "QMUL i-LIDS (i-LIDS_Pedestrian)"
    folders = ("ilids/i-LIDS_Pedestrian/Persons", "i-LIDS_Pedestrian/Persons", "ilids/Persons")
    layout = "images named like 0001001.jpg"
    example = "0001001.jpg"
    published: ClassVar = {"all": Published(119, 476, None)}
    reference = "Zheng et al., Associating Groups of People, BMVC 2009"

    def scan(self, data_root: Path) -> Listing:
        """Reads the folder; see `Dataset.scan`."""
        scan = FolderScan(self, self.folder(data_root))
        scan.part("all", ".", NAME, lambda match: (int(match[1]), None))
        return scan.listing()
