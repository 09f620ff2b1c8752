"""The atom of the project: one image of one person, seen by one camera of one domain."""

from dataclasses import dataclass
from pathlib import Path

DISTRACTOR = -1
"""Identity of images that show nobody who is searched for."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    Attributes:
        image: path of the image file.
        identity: person, counted within its dataset; -1 for a distractor.
        camera: camera, counted within its dataset; None where the data says nothing about cameras.
        domain: name of the dataset that it belongs to; `name/part` where custom data says which part of it.
        camera_name: what the data calls the camera, where it has a name and not a number.
    """

    image: Path
    identity: int
    camera: int | None
    domain: str
    camera_name: str | None = None

    @property
    def seen_by(self) -> str | None:
        """The camera in the words of the data, as a site profile knows it; None where it is not known."""
        return None if self.camera is None else self.camera_name or str(self.camera)

    @property
    def dataset(self) -> str:
        """Name of the dataset, within which an identity is one person."""
        return self.domain.partition("/")[0]
