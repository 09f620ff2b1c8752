"""Frames that are numbered pictures, as `img1/000001.jpg` of MOTChallenge."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from passerby.data.images import Pixels, open_image
from passerby.data.video.cuts import WIDTH
from passerby.data.video.frames import Position
from passerby.errors import PasserbyError


@dataclass(frozen=True)
class PictureFrame:
    """A frame that is a file of its own.

    Attributes:
        position: where it stands.
        picture: decoded.
        lost, leaps: see `Frame`; numbers never run backwards.
    """

    position: Position
    picture: Image.Image
    lost: int
    leaps: bool = False

    def small(self) -> Pixels:
        """See `Frame`."""
        height = max(1, round(WIDTH * self.picture.height / self.picture.width))
        return np.ascontiguousarray(np.asarray(self.picture.resize((WIDTH, height)))[..., ::-1])

    def image(self) -> Pixels:
        """See `Frame`."""
        return np.asarray(self.picture)


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
            PasserbyError: when there are none, or one is numbered 0.
        """
        named = ((re.fullmatch(r"\D*(\d+)\.(jpe?g|png|bmp)", p.name.lower()), p) for p in self.folder.iterdir())
        self._paths = sorted((int(match[1]), path) for match, path in named if match)
        if not self._paths:
            raise PasserbyError(f"{self.folder}: holds no numbered pictures such as 000001.jpg")
        if self._paths[0][0] == 0:
            raise PasserbyError(f"{self._paths[0][1]}: pictures count from 1, as MOTChallenge's do; rename them")
        self.total = len(self._paths)

    def frames(self, start: Position | None = None) -> Iterator[PictureFrame]:
        """See `Reader`; a missing number, or a picture that cannot be read, is a frame that nobody has: time passes all the same.

        Raises:
            PasserbyError: when not one picture can be read.
        """
        whole, lost = False, 0
        error: PasserbyError | None = None
        for number, path in self._paths:
            if start is not None and number - 1 < start.number:
                continue
            try:
                picture = open_image(path)
            except PasserbyError as unreadable:
                error, lost = unreadable, lost + 1
                continue
            yield PictureFrame(Position(number - 1, round((number - 1) / self.fps, 6)), picture, lost)
            whole, lost = True, 0
        if error is not None and not whole and start is None:
            raise error
        if lost:
            self.counts["damaged"] = lost
