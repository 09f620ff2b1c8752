"""Frames that are numbered pictures, as `img1/000001.jpg` of MOTChallenge."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from passerby.data.images import Pixels, open_image
from passerby.data.video.cuts import WIDTH
from passerby.data.video.frames import Position
from passerby.errors import PasserbyError


@dataclass(frozen=True)
class PictureFrame:
    """A frame that is a file of its own.

    Attributes:
        position: where it stands.
        path: the file.
        leaps: see `Frame`; numbers never run backwards.
    """

    position: Position
    path: Path
    leaps: bool = False

    def small(self) -> Pixels:
        """See `Frame`."""
        image = open_image(self.path)
        height = max(1, round(WIDTH * image.height / image.width))
        return np.ascontiguousarray(np.asarray(image.resize((WIDTH, height)))[..., ::-1])

    def image(self) -> Pixels:
        """See `Frame`."""
        return np.asarray(open_image(self.path))


@dataclass
class PictureReader:
    """Numbered pictures; frame 0 is the picture of number 1.

    Attributes:
        folder: of the pictures.
        fps: frames a second.
        counts, total: see `Reader`.
    """

    folder: Path
    fps: float
    counts: dict[str, float] = field(default_factory=dict)
    total: int | None = None

    def __post_init__(self) -> None:
        """Lists the pictures.

        Raises:
            PasserbyError: when there are none.
        """
        named = ((re.fullmatch(r"\D*(\d+)\.(jpe?g|png|bmp)", p.name.lower()), p) for p in self.folder.iterdir())
        self._paths = sorted((int(match[1]), path) for match, path in named if match)
        if not self._paths:
            raise PasserbyError(f"{self.folder}: holds no numbered pictures such as 000001.jpg")
        self.total = len(self._paths)

    def frames(self, start: Position | None = None) -> Iterator[PictureFrame]:
        """See `Reader`; a missing number is a frame that nobody has, and time passes all the same."""
        for number, path in self._paths:
            if start is None or number - 1 >= start.number:
                yield PictureFrame(Position(number - 1, round((number - 1) / self.fps, 6)), path)
