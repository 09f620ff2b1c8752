"""MSMT17, version 1 and version 2 (faces blurred)."""

import re
from pathlib import Path
from typing import ClassVar

from passerby.data.datasets.base import Dataset, FolderScan, Images, Listing, Published, image_names
from passerby.data.sample import Sample

LINE = re.compile(r"(\S*?(?:^|/)\d+_\d+_(\d+)_[^/\s]+)\s+(\d+)")
"""A line of a list: `0000/0000_000_01_0303morning_0008_0.jpg 0`; the third field of the name is the camera."""

TRAIN_IDENTITIES = 1_041
"""The lists count people from 0 twice, in `train` and in `test`: those of the test come after these."""


class Msmt17(Dataset):
    """MSMT17: parts `train`, `val` (of the same people), `query` and `gallery`, as its four lists say."""

    name = "msmt17"
    title = "MSMT17"
    folders = ("msmt17/MSMT17_V1", "msmt17/MSMT17_V2", "MSMT17_V1", "MSMT17_V2", "msmt17")
    layout = (
        "the folders train and test (or mask_train_v2 and mask_test_v2) and the lists list_train.txt, list_val.txt, "
        "list_query.txt and list_gallery.txt"
    )
    example = "0000/0000_000_01_0303morning_0008_0.jpg"
    published: ClassVar = {
        "train": Published(1_041, 30_248, 15),
        "query": Published(3_060, 11_659, 15),
        "gallery": Published(3_060, 82_161, 15),
        "all": Published(4_101, 126_441, 15),
    }
    reference = "Wei et al., Person Transfer GAN to Bridge Domain Gap, CVPR 2018; licence on request, research only"

    def scan(self, data_root: Path) -> Listing:
        """Reads the lists and which of their images are there; see `Dataset.scan`."""
        scan = FolderScan(self, self.folder(data_root))
        self._read_lists(scan, ("train", "mask_train_v2"), ("train", "val"), first_identity=0)
        self._read_lists(scan, ("test", "mask_test_v2"), ("query", "gallery"), first_identity=TRAIN_IDENTITIES)
        return scan.listing()

    def source_parts(self, listing: Listing, images: Images) -> tuple[str, ...]:
        """`train` means `train` and `val`: the 32,621 images that the paper trains on."""
        return tuple(part for part in listing.parts if images == "all" or part in {"train", "val"})

    def _read_lists(
        self, scan: FolderScan, folders: tuple[str, ...], parts: tuple[str, ...], first_identity: int
    ) -> None:
        folder = next((name for name in folders if (scan.root / name).is_dir()), None)
        if folder is None:
            return
        there = set(image_names(scan.root / folder, recursive=True))
        for part in parts:
            file = scan.root / f"list_{part}.txt"
            if not file.is_file():
                continue
            samples = []
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                match = LINE.fullmatch(line.strip())
                if match is None:
                    if line.strip():
                        scan.misfits.append(f"{file.name} line {number}: {line.strip()}")
                elif match[1] not in there:
                    scan.misfits.append(f"{folder}/{match[1]} (named in {file.name}, not there)")
                else:
                    path = scan.root / folder / match[1]
                    samples.append(Sample(path, first_identity + int(match[3]), int(match[2]), self.domain))
            scan.parts[part] = tuple(sorted(samples, key=lambda sample: sample.image.parts))
