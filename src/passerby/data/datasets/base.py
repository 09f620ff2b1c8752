"""What a dataset is to the rest of the house: a name, its official layout, and the samples that its folder holds."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from passerby.data.sample import Sample
from passerby.errors import PasserbyError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".ppm", ".webp"})

Labels = tuple[int, int | None]
"""Identity and camera of one image."""

Images = Literal["all", "train"]
"""Which images of a dataset a source takes: all of the folders that are there, or the official training part."""


@dataclass(frozen=True)
class Listing:
    """What was found in a dataset's folder.

    Attributes:
        parts: samples by part, sorted by path. Parts are `train`, `query` and `gallery` where a dataset has official
            ones, `cam_a`, `cam_b`, ... or `all` where it has none; only parts whose folders are there appear.
        misfits: files that look like images but whose names do not parse, as paths relative to the dataset's folder,
            and entries of official lists whose images are not there.
    """

    parts: dict[str, tuple[Sample, ...]]
    misfits: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples of all parts, each file once, distractors included."""
        return tuple(dict.fromkeys(s for part in self.parts.values() for s in part))


@dataclass(frozen=True)
class Published:
    """Counts of one part as published: people, images, cameras (distractors and junk apart; None: not published)."""

    identities: int
    images: int
    cameras: int | None


class Dataset(ABC):
    """A public dataset in its official layout under a data root.

    A subclass names itself, its folders and its published counts, and implements `scan`.
    """

    name: str
    title: str
    folders: ClassVar[tuple[str, ...]]
    """Folders under the data root, in the order tried (torchreid's names first)."""
    layout: ClassVar[str]
    """What the folder holds, in words: an error about another layout says it."""
    example: ClassVar[str]
    """An official file name: an error about names that do not parse shows it."""
    published: ClassVar[dict[str, Published]]
    """Counts as published, by part, with `all` for everything that a source may train on."""
    reference: ClassVar[str]
    """Paper to cite and terms of use, one line."""
    warning: ClassVar[str | None] = None
    """Said whenever the dataset is used (a retraction, say)."""
    missing_parts: ClassVar[str | None] = None
    """What to do where the official query and gallery are not there; None: unpack the dataset whole."""
    same_people: ClassVar[frozenset[str]] = frozenset()
    """Domains of other datasets that show people of this one: the two never stand on opposite sides, nor side by side."""

    @property
    def domain(self) -> str:
        """Domain of the samples. Variants of one dataset share it, since they show the same people."""
        return self.name

    def folder(self, data_root: Path) -> Path:
        """The dataset's folder under `data_root`.

        Raises:
            PasserbyError: when none of the official folders is there.
        """
        if not data_root.is_dir():
            raise PasserbyError(
                f"{self.name}: no data root {data_root}; point --data-root at the folder of all datasets"
            )
        for name in self.folders:
            if (data_root / name).is_dir():
                return data_root / name
        raise PasserbyError(
            f"{self.name}: no folder {self.folders[0]} under {data_root}; unpack {self.title} there "
            f"(also looked for {', '.join(self.folders[1:])}), or point --data-root elsewhere"
        )

    @abstractmethod
    def scan(self, data_root: Path) -> Listing:
        """Reads names (never pixels) under `data_root`.

        Raises:
            PasserbyError: when the folder is missing, empty or laid out otherwise.
        """

    def source_parts(self, listing: Listing, images: Images) -> tuple[str, ...]:
        """Parts of `listing` that a source takes: every part, or the official training part where there is one."""
        return tuple(listing.parts) if images == "all" else tuple(part for part in listing.parts if part == "train")

    def prepare(self, data_root: Path) -> tuple[Path, ...]:
        """Turns what is downloaded into folders of images that `scan` reads; returns the folders that it wrote.

        Raises:
            PasserbyError: when this dataset is read as it is downloaded, or its archive is not there.
        """
        raise PasserbyError(f"{self.name}: nothing to prepare under {data_root}; it is read as it is unpacked")


@dataclass
class FolderScan:
    """Collects the parts of one dataset, folder by folder, by parsing image names."""

    dataset: Dataset
    root: Path
    parts: dict[str, tuple[Sample, ...]] = field(default_factory=dict)
    misfits: list[str] = field(default_factory=list)

    def part(
        self,
        part: str,
        folder: str,
        pattern: re.Pattern[str],
        read: Callable[[re.Match[str]], Labels | None],
        recursive: bool = False,
    ) -> None:
        """Adds the images of a folder as a part, sorted by path; does nothing when the folder is not there.

        Args:
            part: name of the part.
            folder: where to look, relative to the dataset's folder.
            pattern: must match the whole file name less its suffix (posix path relative to `folder` when recursive).
            read: turns a match into (identity, camera), or None for files to be left out without a word (junk).
            recursive: look into folders below as well.
        """
        path = self.root / folder
        if not path.is_dir():
            return
        samples = []
        for name in image_names(path, recursive):
            match = pattern.fullmatch(str(PurePosixPath(name).with_suffix("")))
            if match is None:
                self.misfits.append(f"{folder}/{name}" if folder != "." else name)
                continue
            labels = read(match)
            if labels is not None:
                samples.append(Sample(path / name, labels[0], labels[1], self.dataset.domain))
        self.parts[part] = tuple(samples)

    def listing(self) -> Listing:
        """What was collected.

        Raises:
            PasserbyError: when no official folder was there, or nothing in them was an image with an official name.
        """
        name = self.dataset.name
        if not self.parts:
            raise PasserbyError(f"{name}: {self.root} is laid out otherwise; it should hold {self.dataset.layout}")
        if any(self.parts.values()):
            return Listing(dict(self.parts), tuple(self.misfits))
        if self.misfits:
            raise PasserbyError(
                f"{name}: not one of {len(self.misfits)} image names under {self.root} parses, the first is "
                f"{self.misfits[0]}; official names are like {self.dataset.example}"
            )
        raise PasserbyError(f"{name}: no labelled image under {self.root}; it should hold {self.dataset.layout}")


def image_files(folder: Path, recursive: bool = False) -> list[Path]:
    """Paths of the image files that `image_names` names."""
    return [folder / name for name in image_names(folder, recursive)]


def image_names(folder: Path, recursive: bool = False) -> list[str]:
    """Image files of a folder by suffix, as posix paths relative to it, sorted; hidden ones are passed over."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        relative = Path(parent).relative_to(folder).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        found += [
            prefix + name
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122
        ]
    return sorted(found, key=lambda name: name.split("/"))
