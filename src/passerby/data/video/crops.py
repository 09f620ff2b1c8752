"""What is known of one crop of a person, and how it is named in a shard."""

import re
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from passerby.errors import PasserbyError

_KEY = re.compile(r"(?P<film>[\w-]+)/(?P<shot>\d{5,})/(?P<frame>\d{8,})-(?P<index>\d{3,})")


class Crop(BaseModel):
    """One person in one frame.

    A crop's key, `film/shot/frame-index`, names it within a set of shards.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    film: str = Field(pattern=r"^[\w-]{1,80}$")
    """Name of the film within the shards."""
    shot: int = Field(ge=0)
    """Number of the shot within the film. Negatives come from other shots."""
    frame: int = Field(ge=0)
    """Number of the frame within the film, in the order of showing."""
    index: int = Field(ge=0)
    """Number of the person within the frame; says nothing about who it is."""
    time: float = Field(allow_inf_nan=False)
    """Seconds from the first frame of the film."""
    box: tuple[float, float, float, float] | None = None
    """Left, top, right and bottom in pixels of the frame; None where the crops came without their frames."""
    score: float = Field(1.0, allow_inf_nan=False)
    """The detector's, 0 to 1; 1 for boxes that people drew."""
    tracklet: int | None = None
    """Number within the shot, where a tracker was asked."""
    identity: int | None = None
    """Ground truth, within the film; None where it is not known, or the detector found nobody. It serves to measure and is
    never trained on."""

    @property
    def key(self) -> str:
        """Name of the shard's members, without `.jpg` or `.json`."""
        return f"{self.film}/{self.shot:05d}/{self.frame:08d}-{self.index:03d}"


@dataclass(frozen=True)
class StoredCrop:
    """A crop with its picture.

    Attributes:
        crop: what is known of it.
        jpeg: the bytes of its JPEG file.
    """

    crop: Crop
    jpeg: bytes


def parse_key(key: str) -> tuple[str, int, int, int]:
    """Film, shot, frame and index of a crop's key.

    >>> parse_key("station/00003/00000147-002")
    ('station', 3, 147, 2)

    Raises:
        PasserbyError: when it is none.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise PasserbyError(f"'{key}': no key of a crop; they look like film/00003/00000147-002")
    return match["film"], int(match["shot"]), int(match["frame"]), int(match["index"])


def read_crop(key: str, text: bytes) -> Crop:
    """The crop that a `.json` member of a shard describes.

    Raises:
        PasserbyError: when it is damaged, or speaks of another crop than its name.
    """
    try:
        crop = Crop.model_validate_json(text)
    except ValidationError as error:
        reason = error.errors()[0]
        where = ".".join(str(part) for part in reason["loc"]) or "the text"
        raise PasserbyError(f"{key}.json: no crop ({where}: {reason['msg']}); make the shards again") from error
    if parse_key(key) != (crop.film, crop.shot, crop.frame, crop.index):
        raise PasserbyError(f"{key}.json: describes the crop {crop.key}; make the shards again")
    return crop
