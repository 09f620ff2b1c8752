"""CUHK03: labelled and detected boxes, whole and as the new 767/700 protocol."""

import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from passerby.data.datasets.base import Dataset, FolderScan, Images, Labels, Listing, Published
from passerby.data.datasets.cuhk03_release import BOXES, extract_images
from passerby.data.sample import Sample
from passerby.errors import PasserbyError

NAME = re.compile(r"([1-5])_(\d{3})_([12])_(\d{2})")
"""`1_001_1_01`: camera pair, person of the pair, view, image."""


def labels(match: re.Match[str]) -> Labels:
    """Identity and camera. People are counted within a pair: 1,000 x pair + person. Cameras: 1 to 10, two views a pair.

    (The paper has six cameras, but the release does not say which pairs share one.)
    """
    pair = int(match[1])
    return 1_000 * pair + int(match[2]), 2 * (pair - 1) + int(match[3])


class Cuhk03(Dataset):
    """CUHK03 in folders of images, as `prepare` extracts them from the release.

    Parts: `detected` and `labeled` are all images of one kind of boxes; `train`, `query` and `gallery` are the new
    protocol (767 people train, 700 test) where its .mat is there, over the kind that this name prefers: detected boxes
    when they are there. A source takes all images of that kind alone: the other kind shows the same moments again.
    """

    name = "cuhk03"
    title = "CUHK03 (cuhk03_release)"
    folders = ("cuhk03", "CUHK03")
    layout = "the folders images_detected and images_labeled, as 'passerby datasets prepare cuhk03' extracts them"
    example = "1_001_1_01.png"
    published: ClassVar = {
        "detected": Published(1_467, 14_097, 10),
        "labeled": Published(1_467, 14_096, 10),
        "train": Published(767, 7_365, None),
        "query": Published(700, 1_400, None),
        "gallery": Published(700, 5_332, None),
    }
    reference = "Li et al., DeepReID, CVPR 2014; new protocol: Zhong et al., CVPR 2017; research only"
    missing_parts = "put cuhk03_new_protocol_config_detected.mat (or _labeled.mat; Zhong et al., CVPR 2017) into the dataset's folder"
    preferred: ClassVar[tuple[str, ...]] = ("detected", "labeled")

    @property
    def domain(self) -> str:
        """The same for both kinds of boxes: they show the same people."""
        return Cuhk03.name

    def scan(self, data_root: Path) -> Listing:
        """Reads the folders and the protocol's .mat; see `Dataset.scan`."""
        scan = FolderScan(self, self.folder(data_root))
        for boxes in self.preferred:
            scan.part(boxes, f"images_{boxes}", NAME, labels)
        if not scan.parts and release_file(scan.root).is_file():
            raise PasserbyError(
                f"{self.name}: {release_file(scan.root)} is not extracted yet; run 'passerby datasets prepare cuhk03'"
            )
        if scan.parts:
            self._add_new_protocol(scan, boxes=next(iter(scan.parts)))
        return scan.listing()

    def source_parts(self, listing: Listing, images: Images) -> tuple[str, ...]:
        """All images of one kind of boxes, the preferred that is there; or the new protocol's training part."""
        if images == "train":
            return super().source_parts(listing, images)
        return tuple(boxes for boxes in self.preferred if boxes in listing.parts)[:1]

    def prepare(self, data_root: Path) -> tuple[Path, ...]:
        """Extracts `images_labeled` and `images_detected` from cuhk-03.mat; leaves those that are there alone."""
        root = self.folder(data_root)
        missing = [boxes for boxes in BOXES if not (root / f"images_{boxes}").is_dir()]
        return tuple(extract_images(release_file(root), boxes, root / f"images_{boxes}") for boxes in missing)

    def _add_new_protocol(self, scan: FolderScan, boxes: str) -> None:
        name = f"cuhk03_new_protocol_config_{boxes}.mat"
        file = next((path for path in (scan.root / name, scan.root / "cuhk03_release" / name) if path.is_file()), None)
        if file is None:
            return
        # The lists say .png; people also keep the images as .jpg.
        by_stem = {sample.image.stem: sample for sample in scan.parts[boxes]}
        for part, names in new_protocol(file).items():
            found = {name: by_stem.get(Path(name).stem) for name in names}
            scan.misfits += [
                f"images_{boxes}/{name} (named in {file.name}, not there)"
                for name, sample in found.items()
                if not sample
            ]
            samples: list[Sample] = [sample for sample in found.values() if sample]
            scan.parts[part] = tuple(sorted(samples, key=lambda sample: sample.image.name))


class Cuhk03Labeled(Cuhk03):
    """CUHK03 with the labelled boxes, whatever else is there."""

    name = "cuhk03-labeled"
    title = "CUHK03, labelled boxes"
    layout = "the folder images_labeled, as 'passerby datasets prepare cuhk03' extracts it"
    published: ClassVar = {
        "labeled": Published(1_467, 14_096, 10),
        "train": Published(767, 7_368, None),
        "query": Published(700, 1_400, None),
        "gallery": Published(700, 5_328, None),
    }
    preferred: ClassVar[tuple[str, ...]] = ("labeled",)


def release_file(root: Path) -> Path:
    """Where the release has its images and classic test sets."""
    return root / "cuhk03_release" / "cuhk-03.mat"


def new_protocol(file: Path) -> dict[str, tuple[str, ...]]:
    """File names of `train`, `query` and `gallery` in a cuhk03_new_protocol_config_*.mat (Zhong et al., CVPR 2017).

    Raises:
        PasserbyError: when the file is not such a .mat.
    """
    from scipy.io import loadmat

    try:
        config: dict[str, Any] = loadmat(file, squeeze_me=True)
        names = np.atleast_1d(config["filelist"])
        # Indices count from 1, as Matlab does.
        indices = {part: np.atleast_1d(config[f"{part}_idx"]).astype(int) - 1 for part in ("train", "query", "gallery")}
        return {part: tuple(str(name) for name in names[index]) for part, index in indices.items()}
    except Exception as error:  # scipy raises anything from ValueError to TypeError on a damaged file
        reason = str(error).splitlines()[0]
        raise PasserbyError(f"cuhk03: {file} is not a new-protocol .mat ({reason}); download it again") from error
