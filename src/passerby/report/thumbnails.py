"""Small pictures that travel inside a page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from passerby.data.images import open_image
from passerby.errors import PasserbyError

WIDTH, HEIGHT = 64, 128
QUALITY = 80


@dataclass(frozen=True)
class Thumbnail:
    """A picture for a page.

    Attributes:
        uri: the picture as a JPEG data URI; None where the file cannot be read.
        reason: why it cannot be read; empty where it can.
    """

    uri: str | None
    reason: str = ""


def thumbnail(path: Path) -> Thumbnail:
    """An image file, made to fit 64 x 128 pixels (never enlarged, its proportions kept).

    A file that cannot be read is no reason to lose a report: the thumbnail says what is wrong with it.
    """
    try:
        small = open_image(path)
    except PasserbyError as error:
        return Thumbnail(None, str(error).removeprefix(f"{path}: "))
    small.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY, optimize=True)
    return Thumbnail("data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii"))
