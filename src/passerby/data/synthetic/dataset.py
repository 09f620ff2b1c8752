"""A synthetic data set: identities seen by the cameras of one domain, rendered by index."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from passerby.data.synthetic.camera import Cameras, draw_cameras, draw_views
from passerby.data.synthetic.catalogue import find_domain
from passerby.data.synthetic.domain import Domain
from passerby.data.synthetic.draw import Light, draw_people
from passerby.data.synthetic.draws import Draws, Floats, Ints
from passerby.data.synthetic.person import sample_people
from passerby.data.synthetic.pose import Poses
from passerby.data.synthetic.scene import MARGIN
from passerby.data.synthetic.sensor import capture, develop
from passerby.data.synthetic.shapes import Canvas
from passerby.data.synthetic.weather import draw_obstacle, draw_weather
from passerby.errors import PasserbyError

_BLOCK = 64
"""Pictures rendered at once: enough to keep numpy busy, few enough to stay in the processor's cache."""

_STRANGERS = 512
"""People who only walk beside those who are searched for."""


class SyntheticDomain:
    """All pictures of one domain, none of them stored.

    Picture i depends on the domain, the seed, the size and i alone: whatever else is rendered with it, on however many
    threads. Identity p is the same person for any number of identities.

    Attributes:
        domain: the place, its people and its cameras.
        identity: [M] person in each picture, 0 to identities - 1.
        camera: [M] camera of each picture, 0 to domain.cameras - 1.
        people: the identities, one row each.

    Example:
        >>> plaza = SyntheticDomain("sunny-plaza", identities=10)
        >>> plaza.render([0, 1, 2]).shape
        (3, 128, 64, 3)
    """

    def __init__(
        self,
        domain: Domain | str,
        identities: int,
        *,
        images_per_camera: int = 2,
        seed: int = 0,
        size: tuple[int, int] = (128, 64),
    ) -> None:
        """Draws who is seen where; paints what the cameras see without people.

        Args:
            domain: a domain, or the name of a built-in one.
            identities: how many people.
            images_per_camera: pictures of a person by each camera that sees the person; at least two cameras do.
            seed: of everything.
            size: height and width of the pictures, pixels.

        Raises:
            PasserbyError: for an unknown domain, or numbers out of range.
        """
        self.domain = find_domain(domain) if isinstance(domain, str) else domain
        for name, value, least in (
            ("identities", identities, 1),
            ("images_per_camera", images_per_camera, 1),
            ("seed", seed, 0),
            ("height", size[0], 32),
            ("width", size[1], 16),
        ):
            if value < least:
                raise PasserbyError(
                    f"{name}={value} of synthetic domain '{self.domain.name}': must be at least {least}"
                )
        self.size, self.seed = size, seed
        self.people = sample_people(self.domain.wardrobe, np.arange(identities), seed, f"person/{self.domain.name}")
        self.identity, self.camera, self._shot = _visits(self.domain, identities, images_per_camera, seed)
        self._strangers = sample_people(
            self.domain.wardrobe, np.arange(_STRANGERS), seed, f"stranger/{self.domain.name}"
        )
        self._cameras = draw_cameras(self.domain, seed)
        self._views = draw_views(self.domain, seed, size)
        self._weather = draw_weather(self.domain, size, seed)
        self._noise = np.random.default_rng([seed, 0x401]).standard_normal(
            1_500_000 + 12 * size[0] * size[1], np.float32
        )

    def __len__(self) -> int:
        return len(self.identity)

    def render(self, indices: ArrayLike, workers: int = 1) -> NDArray[np.uint8]:
        """Renders pictures.

        Args:
            indices: [n] picture numbers, in any order.
            workers: threads to share the work.

        Returns:
            [n, H, W, 3] RGB.

        Raises:
            PasserbyError: when an index is out of range.
        """
        wanted = np.asarray(indices, np.int64).reshape(-1)
        wrong = wanted[(wanted < 0) | (wanted >= len(self))]
        if wrong.size:
            raise PasserbyError(
                f"picture {wrong[0]} of synthetic domain '{self.domain.name}': it has 0 to {len(self) - 1}"
            )
        images = np.empty((len(wanted), *self.size, 3), np.uint8)
        starts = range(0, len(wanted), _BLOCK)

        def fill(start: int) -> None:
            images[start : start + _BLOCK] = self._render_block(wanted[start : start + _BLOCK])

        if workers <= 1:
            for start in starts:
                fill(start)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(fill, starts))
        return images

    def _render_block(self, index: Ints) -> NDArray[np.uint8]:
        """[n, H, W, 3] pictures of a few indices."""
        person, camera = self.identity[index], self.camera[index]
        # What a person does before a camera is the same for all shots of a visit; the index of its first shot names it.
        visit = Draws(self.seed, f"visit/{self.domain.name}", index - self._shot[index])
        draws = Draws(self.seed, f"picture/{self.domain.name}", index)
        cameras = self._cameras.take(camera)
        light = Light(cameras.side, cameras.ambient, cameras.shadow)
        scene = self._behind(camera, draws)
        poses = _poses(self.domain, cameras, visit, draws)
        figure = draw_people(self.people.take(person), poses, light, self.size)
        draw_obstacle(figure, self.domain.occluders, draws)
        self._add_stranger(scene, figure, poses, light, draws)
        scene *= 1 - figure.alpha[:, None]
        scene += figure.rgb
        if self.domain.rain or self.domain.snow:
            falling = self._weather[draws.integers(len(self._weather))][:, None]
            scene += falling * (0.92 - scene)
        shown = develop(scene, cameras, 1 + draws.normal(0.05).clip(-0.12, 0.12))
        return capture(shown, cameras, self._noise, draws)

    def _add_stranger(self, scene: Floats, figure: Canvas, poses: Poses, light: Light, draws: Draws) -> None:
        """Lets somebody else walk through some of the pictures, half outside, behind the person or before."""
        beside, before = draws.chance(self.domain.crowd), draws.chance(0.3)
        who, turn = draws.integers(_STRANGERS), draws.uniform(-0.6, 0.6)
        aside = draws.uniform(0.42, 0.75) * np.where(draws.chance(0.5), 1, -1).astype(np.float32)
        nearer = np.where(before, 1.0, 0.9).astype(np.float32)
        moved = replace(
            poses,
            yaw=poses.yaw + turn,
            phase=poses.phase + 2,
            centre=poses.centre + aside,
            top=poses.top + np.float32(0.04),
            height=poses.height * nearer,
        )
        rows = np.flatnonzero(beside)
        if not rows.size:
            return
        them = draw_people(self._strangers.take(who[rows]), moved.take(rows), light.take(rows), self.size)
        clear, nearer_ones = 1 - them.alpha, before[rows]
        front, back = rows[nearer_ones], rows[~nearer_ones]
        figure.rgb[front] = figure.rgb[front] * clear[nearer_ones, None] + them.rgb[nearer_ones]
        figure.alpha[front] = 1 - (1 - figure.alpha[front]) * clear[nearer_ones]
        scene[back] = scene[back] * clear[~nearer_ones, None] + them.rgb[~nearer_ones]

    def _behind(self, camera: Ints, draws: Draws) -> Floats:
        """[n, 3, H, W] a piece of each camera's view, nearer or farther from time to time."""
        height, width = self.size
        zoom = draws.uniform(0.75, 1.2)
        x = draws.uniform(0, self._views.shape[3] - width * zoom - 1)
        horizon = (self.domain.scene.horizon + MARGIN) * height
        shift = draws.normal(0.02) * height
        rows = horizon + shift[:, None] + (np.arange(height) - self.domain.scene.horizon * height) * zoom[:, None]
        columns = x[:, None] + np.arange(width) * zoom[:, None]
        rows = rows.astype(np.int64).clip(0, self._views.shape[2] - 1)
        # One flat index is gathered at twice the speed of four.
        channels, high, wide = self._views.shape[1:]
        lines = ((camera[:, None, None] * channels + np.arange(channels)[:, None]) * high + rows[:, None]) * wide
        piece: Floats = self._views.reshape(-1).take(lines[..., None] + columns.astype(np.int64)[:, None, None])
        return piece


def _poses(domain: Domain, cameras: Cameras, visit: Draws, draws: Draws) -> Poses:
    """How the person of each picture stands; the way a person walks lasts for a visit."""
    way = visit.choice(cameras.viewpoints) * np.float32(np.pi / 4) * np.where(visit.chance(0.5), 1, -1)
    walking = visit.chance(0.75)
    height = draws.uniform(*domain.fill)
    spare = 1 - height
    return Poses(
        yaw=(way + visit.normal(0.2) + draws.normal(0.12)).astype(np.float32),
        phase=draws.uniform(0, 2 * np.pi),
        stride=np.where(walking, draws.uniform(0.18, 0.40), draws.uniform(0.02, 0.08)).astype(np.float32),
        tilt=(cameras.tilt + draws.normal(0.02)).clip(0, 0.6).astype(np.float32),
        centre=0.5 + draws.normal(1.5 * domain.misalign).clip(-0.2, 0.2),
        top=spare * draws.uniform(0.3, 0.7) + draws.normal(domain.misalign).clip(-0.1, 0.1),
        height=height,
    )


def _visits(domain: Domain, identities: int, images_per_camera: int, seed: int) -> tuple[Ints, Ints, Ints]:
    """Identity, camera and shot of every picture: two cameras or more see a person, each two times in three."""
    draws = Draws(seed, f"route/{domain.name}", np.arange(identities))
    luck = np.stack([draws.unit() for _ in range(domain.cameras)], axis=1)
    seen = (luck < 0.67) | (luck.argsort(axis=1).argsort(axis=1) < 2)
    person, camera = np.nonzero(seen)
    shots = np.tile(np.arange(images_per_camera), len(person))
    return np.repeat(person, images_per_camera), np.repeat(camera, images_per_camera), shots
