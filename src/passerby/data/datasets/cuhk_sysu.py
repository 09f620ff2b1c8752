"""CUHK-SYSU: a person-search dataset, read as the crops of its people."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image
from rich.console import Console
from rich.progress import track

from passerby.data.datasets.base import Dataset, FolderScan, Listing, Published
from passerby.errors import PasserbyError
from passerby.files import atomic_folder

NAME = re.compile(r"p(\d+)_(?:s\d+_\d+|n\d+_s\d+_hard\d)")
"""`p11422_s16929_1` (person, frame, number), or `p00001_n01_s00001_hard0` as other scripts cut them."""

CROPS = ("cropped_images", "cropped_image")
Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of the frame."""


class CuhkSysu(Dataset):
    """CUHK-SYSU: one part, `all`, of the crops that `prepare` cuts. Nothing says which camera took what."""

    name = "cuhk-sysu"
    title = "CUHK-SYSU person search"
    folders = ("cuhksysu", "cuhk-sysu", "cuhk_sysu", "CUHK-SYSU")
    layout = "the folder cropped_images, as 'passerby datasets prepare cuhk-sysu' cuts it"
    example = "p11422_s16929_1.jpg"
    published: ClassVar = {"all": Published(11_934, 34_574, None)}
    reference = (
        "Xiao et al., Joint Detection and Identification Feature Learning for Person Search, CVPR 2017; research only"
    )

    def scan(self, data_root: Path) -> Listing:
        """Reads the crops; see `Dataset.scan`."""
        scan = FolderScan(self, self.folder(data_root))
        crops = next((name for name in CROPS if (scan.root / name).is_dir()), None)
        if crops is not None:
            scan.part("all", crops, NAME, lambda match: (int(match[1]), None))
        elif annotation_file(scan.root) is not None:
            raise PasserbyError(f"{self.name}: {scan.root} holds no crops; run 'passerby datasets prepare {self.name}'")
        return scan.listing()

    def prepare(self, data_root: Path) -> tuple[Path, ...]:
        """Cuts `cropped_images` from Image/SSM as annotation/Person.mat says; leaves crops that are there alone."""
        root = self.folder(data_root)
        if any((root / name).is_dir() for name in CROPS):
            return ()
        annotation = annotation_file(root)
        if annotation is None:
            raise PasserbyError(f"{self.name}: no annotation/Person.mat under {root}; unpack {self.title} there")
        frames = annotation.parent.parent / "Image" / "SSM"
        return (cut_crops(frames, person_boxes(annotation), root / CROPS[0]),)


def annotation_file(root: Path) -> Path | None:
    """Person.mat where the archive puts it, or None."""
    places = (root / "annotation" / "Person.mat", root / "dataset" / "annotation" / "Person.mat")
    return next((place for place in places if place.is_file()), None)


def person_boxes(annotation: Path) -> dict[str, list[tuple[str, Box]]]:
    """For each frame, the names and boxes of its crops, as Person.mat says.

    Raises:
        PasserbyError: when the file is not CUHK-SYSU's Person.mat.
    """
    from scipy.io import loadmat

    boxes: dict[str, list[tuple[str, Box]]] = defaultdict(list)
    try:
        people: Any = loadmat(annotation, simplify_cells=True)["Person"]
        for person in people if not isinstance(people, dict) else [people]:
            scenes = person["scene"]
            for number, scene in enumerate([scenes] if isinstance(scenes, dict) else scenes, start=1):
                # The .mat stores boxes in the smallest integers that hold them: sums would overflow.
                x, y, width, height = (int(value) for value in scene["idlocate"])
                name = f"{person['idname']}_{Path(scene['imname']).stem}_{number}.jpg"
                boxes[scene["imname"]].append((name, (x, y, width, height)))
    except Exception as error:  # scipy raises anything from ValueError to TypeError on a damaged file
        reason = str(error).splitlines()[0]
        raise PasserbyError(f"cuhk-sysu: {annotation} is not its Person.mat ({reason}); download it again") from error
    return dict(boxes)


def cut_crops(frames: Path, boxes: dict[str, list[tuple[str, Box]]], folder: Path) -> Path:
    """Cuts each box out of its frame; `folder` appears when all crops are written, or not at all.

    Boxes are clipped to the frame. Each frame is decoded once.

    Raises:
        PasserbyError: when frames are missing or cannot be read, or a box lies outside its frame.
    """
    missing = sorted(name for name in boxes if not (frames / name).is_file())
    if missing:
        raise PasserbyError(f"cuhk-sysu: {len(missing)} of {len(boxes)} frames are not in {frames}, first {missing[0]}")
    with atomic_folder(folder) as temporary:
        for name, crops in track(boxes.items(), "cuhk-sysu crops", console=Console(stderr=True), transient=True):
            try:
                with Image.open(frames / name) as image:
                    frame = image.convert("RGB")
            except OSError as error:
                raise PasserbyError(f"cuhk-sysu: {frames / name} cannot be read ({error}); unpack it again") from error
            for crop, (x, y, width, height) in crops:
                left, top = max(x, 0), max(y, 0)
                right, bottom = min(x + width, frame.width), min(y + height, frame.height)
                if left >= right or top >= bottom:
                    raise PasserbyError(f"cuhk-sysu: the box of {crop} lies outside its frame; Person.mat is damaged")
                frame.crop((left, top, right, bottom)).save(temporary / crop, quality=95, subsampling=0)
    return folder
