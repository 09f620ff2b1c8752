"""VIPeR."""

import re
from pathlib import Path
from typing import ClassVar

from passerby.data.datasets.base import Dataset, FolderScan, Listing, Published

NAME = re.compile(r"(\d{3})_\d{1,3}")
"""`000_45`: person, then the angle of view in degrees."""


class Viper(Dataset):
    """VIPeR: 632 people, one image by each of two cameras: parts `cam_a` (camera 1) and `cam_b` (camera 2)."""

    name = "viper"
    title = "VIPeR"
    folders = ("viper/VIPeR", "VIPeR", "viper")
    layout = "the folders cam_a and cam_b"
    example = "000_45.bmp"
    published: ClassVar = {
        "cam_a": Published(632, 632, 1),
        "cam_b": Published(632, 632, 1),
        "all": Published(632, 1_264, 2),
    }
    reference = "Gray et al., Evaluating appearance models for recognition, reacquisition, and tracking, PETS 2007"

    def scan(self, data_root: Path) -> Listing:
        """Reads the two camera folders; see `Dataset.scan`."""
        scan = FolderScan(self, self.folder(data_root))
        scan.part("cam_a", "cam_a", NAME, lambda match: (int(match[1]), 1))
        scan.part("cam_b", "cam_b", NAME, lambda match: (int(match[1]), 2))
        return scan.listing()
