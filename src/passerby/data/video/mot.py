"""Sequences in MOTChallenge's layout: frames with boxes, and who they are where that is known."""

import configparser
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from passerby.data.video.boxes import Boxes, Floats
from passerby.errors import PasserbyError

VISIBLE = 0.3
"""Boxes of people of whom less is seen are left out, as a detector does."""

_PERSON = 1
_ABSENT = -1
_NO_ID = 2**53
"""From here on floats do not tell whole numbers apart."""


@dataclass(frozen=True)
class MotSequence:
    """A folder with `img1/` or a film, and `gt/gt.txt` or `det/det.txt` where there are any.

    Attributes:
        folder: of the sequence.
        pictures: folder of numbered frames, or None.
        film: a video file in their place, or None.
        fps: frames a second, where `seqinfo.ini` says it.
        boxes: the file of boxes, or None.
    """

    folder: Path
    pictures: Path | None
    film: Path | None
    fps: float | None
    boxes: Path | None

    @property
    def has_truth(self) -> bool:
        """Whether the boxes say who is in them."""
        return self.boxes is not None and self.boxes.name == "gt.txt"


def is_mot(folder: Path) -> bool:
    """Whether a folder looks like a MOT sequence."""
    return any((folder / name).exists() for name in ("seqinfo.ini", "img1", "gt/gt.txt", "det/det.txt"))


def open_mot(folder: Path) -> MotSequence:
    """Looks at a MOT sequence.

    Raises:
        PasserbyError: when it has neither frames nor a film, or its seqinfo.ini cannot be read.
    """
    info = configparser.ConfigParser(interpolation=None)  # a % in a file's name is a %
    path = folder / "seqinfo.ini"
    try:
        info.read(path)
        fps = info.getfloat("Sequence", "frameRate", fallback=None)
    except (configparser.Error, ValueError) as error:
        raise PasserbyError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if fps is not None and not 0 < fps < np.inf:
        raise PasserbyError(f"{path}: frameRate={fps:g} must be above 0, and finite")
    pictures = folder / info.get("Sequence", "imDir", fallback="img1")
    named = info.get("Sequence", "video", fallback="")
    film = folder / named if named else None
    if film is None and not pictures.is_dir():
        raise PasserbyError(f"{folder}: has neither frames in {pictures.name}/ nor `video=` in seqinfo.ini")
    boxes = next((b for b in (folder / "gt" / "gt.txt", folder / "det" / "det.txt") if b.exists()), None)
    return MotSequence(folder, None if film else pictures, film, fps, boxes)


def read_boxes(sequence: MotSequence) -> dict[int, Boxes]:
    """The boxes of each frame, counted from 0.

    Of `gt.txt` these are people (class 1, or no class at all) that count, and are visible by 0.3 where that is said; their
    score is 1. Of `det.txt` it is every box, with its score; where not all of them lie in 0..1, as DPM's do not, nobody
    knows what they mean, and all are 1.

    Raises:
        PasserbyError: naming the file, or the first line, that cannot be read.
    """
    if sequence.boxes is None:
        return {}
    rows: dict[int, list[tuple[int, list[float], float]]] = {}
    try:
        text = sequence.boxes.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PasserbyError(f"{sequence.boxes}: cannot be read ({error})") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = [float(v) for v in line.replace(" ", ",").split(",") if v]
            frame, who, left, top, width, height = values[:6]
            rest = values[6:]
            if not np.isfinite(values).all() or frame < 1 or abs(who) >= _NO_ID:
                raise ValueError("a frame counts from 1, numbers are finite, and an id lies below 2^53")
        except ValueError as error:
            raise PasserbyError(
                f"{sequence.boxes}, line {number}: no frame,id,left,top,width,height ({error})"
            ) from error
        if sequence.has_truth and not _counts(rest):
            continue
        score = rest[0] if rest and not sequence.has_truth else 1.0
        # Pixels count from 1 there.
        box = [left - 1, top - 1, left - 1 + width, top - 1 + height]
        rows.setdefault(int(frame) - 1, []).append((int(who), box, score))
    scored = all(0 <= score <= 1 for found in rows.values() for _, _, score in found)
    return {frame: _boxes(found, sequence.has_truth, scored) for frame, found in rows.items()}


def _counts(rest: list[float]) -> bool:
    """Whether a line of gt.txt is a visible person: `rest` is flag, class and visibility, as far as they are there."""
    flag, kind, visible = (rest + [1.0, float(_PERSON), 1.0][len(rest) :])[:3]
    return flag != 0 and int(kind) in (_PERSON, _ABSENT) and (visible < 0 or visible >= VISIBLE)


def _boxes(found: list[tuple[int, list[float], float]], truth: bool, scored: bool) -> Boxes:
    xyxy: Floats = np.array([box for _, box, _ in found], np.float32)
    score = np.array([score if scored else 1.0 for _, _, score in found], np.float32)
    return Boxes(xyxy, score, np.array([who for who, _, _ in found], np.int64) if truth else None)
