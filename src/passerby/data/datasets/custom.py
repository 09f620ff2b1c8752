"""Custom data: a folder per identity, Market-style names, or a table."""

import re
from pathlib import Path, PurePosixPath
from typing import ClassVar

from passerby.data.datasets.base import Dataset, FolderScan, Labels, Listing, Published, image_names
from passerby.data.datasets.table import read_table
from passerby.data.sample import DISTRACTOR, Sample
from passerby.errors import PasserbyError

MARKET_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}

MARKET_NAME = re.compile(r"(-1|\d+)_c(\d+).*")
"""Market-style: `0002_c1s1_000451_03`, with any number of digits and anything after the camera."""

CAMERA = re.compile(r"(?<![a-z0-9])c(?:am)?_?(\d+)(?:s\d+)?(?![a-z0-9])", re.IGNORECASE)
"""A camera in a name: `c2`, `cam2`, `cam_2` or `c2s1` as a word of its own."""

SPLIT_FOLDERS = frozenset({"train", "val", "test", "query", "gallery", *MARKET_FOLDERS.values()})


def market_labels(match: re.Match[str]) -> Labels | None:
    """Identity and camera by Market-1501's conventions: -1 is junk, 0 a distractor."""
    identity = int(match[1])
    return None if identity == -1 else (identity or DISTRACTOR, int(match[2]))


class CustomDataset(Dataset):
    """Data that people bring. What `path` is says how it is read.

    - A table (.csv, .parquet): columns `path`, `identity`, optionally `camera`, `domain`, `split`; see `read_table`.
    - A folder with images in bounding_box_train, query or bounding_box_test: Market-style names, parts `train`,
      `query`, `gallery`.
    - A folder of images: Market-style names, part `all`.
    - A folder of folders: one folder per identity, part `all`; the camera is what `cN` in a file's path says, else
      None. Identities count from 0 in the order of the folders' names; a folder named -1 holds distractors.

    Args:
        name: name of the data, which is also the domain of its samples.
        path: the folder or table.
    """

    folders = ()
    layout = (
        "a folder per identity, or images with Market-style names (in bounding_box_train, query, bounding_box_test)"
    )
    example = "0002_c1s1_000451_03.jpg"
    published: ClassVar[dict[str, Published]] = {}
    reference = "custom data"

    def __init__(self, name: str, path: Path) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise PasserbyError(f"custom data '{name}={path}': the name may have letters, digits and . _ - only")
        self.name = name
        self.title = f"custom data {name}"
        self.path = path

    def folder(self, data_root: Path) -> Path:
        """Where the data lies, whatever the data root."""
        return self.path

    def scan(self, data_root: Path) -> Listing:
        """Reads the table or the folder at `path`; see `Dataset.scan`."""
        if self.path.is_file():
            return Listing(read_table(self.path, self.name))
        if not self.path.is_dir():
            raise PasserbyError(f"{self.name}: no folder or table {self.path}; custom data is name=path")
        scan = FolderScan(self, self.path)
        if any(image_names(self.path / folder) for folder in MARKET_FOLDERS.values()):
            for part, folder in MARKET_FOLDERS.items():
                scan.part(part, folder, MARKET_NAME, market_labels)
            return scan.listing()
        loose = image_names(self.path)
        nested = [name for name in image_names(self.path, recursive=True) if "/" in name]
        if nested and not any(MARKET_NAME.fullmatch(name) for name in loose):
            scan.parts["all"] = self._folders_per_identity([PurePosixPath(name) for name in nested])
            scan.misfits += loose
        else:
            scan.part("all", ".", MARKET_NAME, market_labels)
            scan.misfits += nested
        return scan.listing()

    def _folders_per_identity(self, names: list[PurePosixPath]) -> tuple[Sample, ...]:
        people = sorted({name.parts[0] for name in names} - {str(DISTRACTOR)})
        if people and SPLIT_FOLDERS.issuperset(people):
            raise PasserbyError(
                f"{self.name}: {self.path} holds splits ({', '.join(people)}), not a folder per identity; "
                "name them bounding_box_train, query and bounding_box_test with Market-style names, or write a table"
            )
        identity = {name: index for index, name in enumerate(people)} | {str(DISTRACTOR): DISTRACTOR}
        return tuple(
            Sample(self.path / name, identity[name.parts[0]], camera_in(name.relative_to(name.parts[0])), self.name)
            for name in names
        )


def camera_in(name: PurePosixPath) -> int | None:
    """The camera that a path says (`c2`, `cam2`, `c2s1`), or None.

    >>> camera_in(PurePosixPath("cam_2/0007.jpg")), camera_in(PurePosixPath("0007.jpg"))
    (2, None)
    """
    match = CAMERA.search(str(name.with_suffix("")))
    return int(match[1]) if match else None
