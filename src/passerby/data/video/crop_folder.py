"""Ready-made crops, `TRACK_FRAME.jpg`: crops of the same frame stand together, the track serves to measure."""

import re
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from itertools import groupby
from pathlib import Path
from zlib import crc32

from PIL import Image

from passerby.data.images import open_image
from passerby.data.video.stretch import Instant, Person
from passerby.errors import PasserbyError

_NAME = re.compile(r"(\d+)_(\d+)\.(jpe?g|png|bmp)", re.IGNORECASE)


def is_crop_folder(folder: Path) -> bool:
    """Whether a folder holds crops of such names."""
    return any(_NAME.fullmatch(path.name) for path in folder.iterdir())


Named = tuple[int, int, Path]
"""Frame, track and file of a crop."""


def list_crops(folder: Path) -> tuple[list[Named], int]:
    """The crops of a folder in order of frame and track, and how many other files lie there.

    Raises:
        PasserbyError: when there are no crops, or a track's number is too large.
    """
    named = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    found = sorted((int(m[2]), int(m[1]), path) for m, path in named if m)
    if not found:
        raise PasserbyError(f"{folder}: holds no crops named TRACK_FRAME.jpg")
    for frame, track, path in found:
        if max(frame, track) >= 2**63:
            what = "track" if track >= 2**63 else "frame"
            raise PasserbyError(f"{path}: too large for the number of a {what}; count {what}s below 2^63")
    return found, len(named) - len(found)


def stretches(crops: Sequence[Named], fps: float, join: int, seconds: float) -> list[list[list[Named]]]:
    """Crops by instant, and instants by stretch.

    Args:
        crops: in order of frame.
        fps: frames a second.
        join: frames that make one instant.
        seconds: greatest length of a stretch.
    """
    parts: list[list[list[Named]]] = []
    begin = 0.0
    for number, group in groupby(crops, key=lambda crop: crop[0] // join):
        time = number * join / fps
        if not parts or time - begin >= seconds:
            parts.append([])
            begin = time
        parts[-1].append(list(group))
    return parts


def read_instant(
    crops: Sequence[Named], fps: float, join: int, most: int, quality: int, counts: Counter[str]
) -> Instant:
    """One instant with its pictures.

    Args:
        crops: of the instant; a track that is in it twice is taken once.
        fps: frames a second.
        join: frames that make one instant.
        most: people that are kept.
        quality: of the JPEG files that are made of other pictures; those that are JPEG are taken as they are.
        counts: what was left out is added to them: `unreadable`, `doubles`.
    """
    people: dict[int, Person] = {}
    for _, track, path in crops:
        if track in people:
            counts["doubles"] += 1
            continue
        try:
            people[track] = Person(_jpeg(path, quality), identity=track)
        except PasserbyError:
            counts["unreadable"] += 1
    counts["frames"] += len({frame for frame, _, _ in crops})
    # In an order that does not give the tracks away.
    mixed = sorted(people.values(), key=lambda person: crc32(person.jpeg))
    frame = crops[0][0] // join * join
    return Instant(frame, round(frame / fps, 6), tuple(mixed[:most]), crowded=len(mixed) > most)


def _jpeg(path: Path, quality: int) -> bytes:
    """The bytes of a picture as JPEG.

    Raises:
        PasserbyError: when it cannot be read.
    """
    image: Image.Image = open_image(path)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return path.read_bytes()
    stream = BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()
