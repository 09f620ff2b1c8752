"""DukeMTMC-reID."""

import re
from pathlib import Path
from typing import ClassVar

from passerby.data.datasets.base import Dataset, FolderScan, Labels, Listing, Published

NAME = re.compile(r"(\d{4})_c([1-8])_f\d{7}")
"""`0001_c1_f0046302`."""


def labels(match: re.Match[str]) -> Labels:
    """Identity and camera. The 408 people seen by one camera only count as people, as in the published numbers."""
    return int(match[1]), int(match[2])


class DukeMtmcReid(Dataset):
    """DukeMTMC-reID: parts `train`, `query` and `gallery`."""

    name = "dukemtmcreid"
    title = "DukeMTMC-reID"
    folders = ("dukemtmc-reid/DukeMTMC-reID", "dukemtmcreid/DukeMTMC-reID", "DukeMTMC-reID", "dukemtmcreid")
    layout = "the folders bounding_box_train, query and bounding_box_test"
    example = "0001_c1_f0046302.jpg"
    published: ClassVar = {
        "train": Published(702, 16_522, 8),
        "query": Published(702, 2_228, 8),
        "gallery": Published(1_110, 17_661, 8),
        "all": Published(1_812, 36_411, 8),
    }
    reference = "Ristani et al., ECCVW 2016; Zheng et al., ICCV 2017; retracted by its authors"
    warning = (
        "DukeMTMC was retracted by its authors in 2019: the people in it were filmed without their consent. "
        "Use it only to reproduce earlier results, and say so"
    )

    def scan(self, data_root: Path) -> Listing:
        """Reads the three folders; see `Dataset.scan`."""
        scan = FolderScan(self, self.folder(data_root))
        scan.part("train", "bounding_box_train", NAME, labels)
        scan.part("query", "query", NAME, labels)
        scan.part("gallery", "bounding_box_test", NAME, labels)
        return scan.listing()
