"""Street scenes: film of many procedural people who walk in, out and behind each other, with exact boxes and tracks."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from passerby.data.synthetic.camera import draw_cameras
from passerby.data.synthetic.domain import Domain
from passerby.data.synthetic.draw import Light
from passerby.data.synthetic.draws import Floats, Ints
from passerby.data.synthetic.person import sample_people
from passerby.data.synthetic.scene import MARGIN, paint_panorama
from passerby.data.synthetic.street_camera import StreetCamera
from passerby.data.synthetic.street_sprites import Sprite, draw_sprites
from passerby.data.synthetic.street_walks import at, draw_ground, draw_walks
from passerby.errors import PasserbyError

_BLOCK = 8
"""Frames of which the people are drawn together."""


@dataclass(frozen=True)
class Box:
    """Where one person is in a frame.

    Attributes:
        person: who, counted through the film.
        left, top, right, bottom: pixels, within the frame; everything of the person that lies in the frame, hidden or not.
        visible: share of the person's pixels that nobody hides and that lie in the frame.
    """

    person: int
    left: int
    top: int
    right: int
    bottom: int
    visible: float


@dataclass(frozen=True)
class StreetFrame:
    """One frame.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        boxes: of everybody in it, farthest first.
    """

    image: NDArray[np.uint8]
    boxes: tuple[Box, ...]


class _Place:
    """What one camera of a film sees without people, and how people stand in it."""

    def __init__(self, domain: Domain, size: tuple[int, int], rng: np.random.Generator) -> None:
        # Clutter holds people far off; here everybody who is seen has a track.
        self._scene, self._size = replace(domain.scene, clutter=0.0), size
        # The higher a panorama is beyond the frame, the farther down the camera looks: its lower part is what is seen.
        self._unit = int(np.ceil(size[0] / rng.uniform(1.1, 1 + 2 * MARGIN)))
        hidden = int(self._unit * (1 + 2 * MARGIN)) - size[0]
        self.ground = draw_ground(size, (domain.scene.horizon + MARGIN) * self._unit - hidden, rng)
        self._paint = int(rng.integers(2**31))

    def view(self) -> Floats:
        """[3, H, W] light."""
        rng = np.random.default_rng(self._paint)
        view = paint_panorama(self._scene, (self._unit, self._size[1] // 8), rng)[-self._size[0] :]
        return np.ascontiguousarray(view.transpose(2, 0, 1))


class StreetFilm:
    """A film of one place: shots of its cameras in turn.

    Frame i depends on the arguments and on i alone. People of different films are different people; within a film a
    person is seen in one shot.

    Example:
        >>> film = StreetFilm(DOMAINS["sunny-plaza"], seed=0, shots=2, seconds=10)
        >>> frame = next(film.frames())
        >>> frame.image.shape, frame.boxes[0].person
    """

    def __init__(
        self,
        domain: Domain,
        seed: int,
        *,
        shots: int = 2,
        seconds: float = 30.0,
        fps: float = 10.0,
        people: float = 10.0,
        size: tuple[int, int] = (360, 640),
    ) -> None:
        """Draws who walks where.

        Args:
            domain: the place, what its people wear, and what its cameras are like.
            seed: of everything.
            shots: how many; shot s is of camera s, counted around.
            seconds: length of each shot.
            fps: frames a second.
            people: seen at a time, on average.
            size: height and width of the frames, pixels; the width a multiple of 8.

        Raises:
            PasserbyError: for numbers out of range.
        """
        for name, value, least, most in (
            ("seed", seed, 0, 2**63),
            ("shots", shots, 1, 1e5),
            ("seconds", seconds, 1 / fps if fps > 0 else 0, 1e5),
            ("fps", fps, 0.1, 1e3),
            ("people", people, 0, 1e3),
            ("height", size[0], 96, 1e4),
            ("width", size[1], 96, 1e4),
        ):
            if not least <= value <= most:
                raise PasserbyError(
                    f"{name}={value} of a street scene: must be at least {least:g} and at most {most:g}"
                )
        if size[1] % 8 or size[0] % 2:
            raise PasserbyError(
                f"size {size[1]}x{size[0]} of a street scene: the width must be a multiple of 8, the height even"
            )
        self.domain, self.fps, self.size = domain, fps, size
        self._key = (seed, zlib.crc32(domain.name.encode()))
        self.frames_a_shot = max(1, round(seconds * fps))
        self.shots = shots
        self._cameras = draw_cameras(domain, seed)
        self._places = [
            _Place(domain, size, np.random.default_rng([*self._key, 0x91A, camera])) for camera in range(domain.cameras)
        ]
        self._walks = []
        count = 0
        for shot in range(shots):
            rng = np.random.default_rng([*self._key, 0x57E, shot])
            walks = draw_walks(self._places[self.camera_of(shot)].ground, seconds, people, count, rng)
            count = int(walks.person.max(initial=count - 1)) + 1
            self._walks.append(walks)
        self.people = sample_people(domain.wardrobe, np.arange(count), seed, f"walker/{domain.name}")

    def __len__(self) -> int:
        return self.shots * self.frames_a_shot

    def camera_of(self, shot: int) -> int:
        """The camera that took a shot."""
        return shot % self.domain.cameras

    def frames(self, wanted: Sequence[int] | None = None) -> Iterator[StreetFrame]:
        """Renders frames.

        Args:
            wanted: numbers of frames, rising; all by default.
        """
        numbers = np.arange(len(self)) if wanted is None else np.asarray(wanted, np.int64)
        for shot in range(self.shots):
            own = numbers[numbers // self.frames_a_shot == shot]
            if own.size:
                yield from self._shot_frames(shot, own)

    def _shot_frames(self, shot: int, numbers: Ints) -> Iterator[StreetFrame]:
        camera = self.camera_of(shot)
        row = self._cameras.take(np.array([camera]))
        place = self._places[camera]
        eye = StreetCamera(place.view(), row, self._key[0] + camera)
        light = Light(row.side, row.ambient, row.shadow)
        for start in range(0, len(numbers), _BLOCK):
            part = numbers[start : start + _BLOCK]
            times = (part % self.frames_a_shot) / self.fps
            moments = [at(self._walks[shot], place.ground, float(time)) for time in times]
            crowds = draw_sprites(moments, self.people, light, self.size)
            for number, crowd in zip(part, crowds, strict=True):
                rng = np.random.default_rng([*self._key, 0xF7A, int(number)])
                yield StreetFrame(eye.frame(crowd, rng), boxes_of(crowd, self.size))


def boxes_of(crowd: Sequence[Sprite], size: tuple[int, int]) -> tuple[Box, ...]:
    """Where people are who are laid over each other.

    Args:
        crowd: farthest first.
        size: height and width of the frame.
    """
    owner = np.full(size, -1, np.int64)
    for k, sprite in enumerate(crowd):
        owner[sprite.window][sprite.body] = k
    seen = np.bincount(owner.ravel() + 1, minlength=len(crowd) + 1)[1:]
    boxes = []
    for k, sprite in enumerate(crowd):
        rows, columns = np.flatnonzero(sprite.body.any(axis=1)), np.flatnonzero(sprite.body.any(axis=0))
        if rows.size:
            y, x = sprite.window[0].start, sprite.window[1].start
            edges = (x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1)
            left, top, right, bottom = (int(edge) for edge in edges)
            visible = float(seen[k] / sprite.pixels)
            boxes.append(Box(sprite.person, left, top, right, bottom, visible))
    return tuple(boxes)
