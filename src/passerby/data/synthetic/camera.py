"""The cameras of a domain: each a variation of what the domain says, with a view of its own."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from passerby.data.synthetic.domain import Domain
from passerby.data.synthetic.draws import Draws, Floats, Ints
from passerby.data.synthetic.scene import paint_panorama


@dataclass(frozen=True)
class Cameras:
    """Cameras as columns, one row a camera; the fields of `Domain` of the same names say what they mean.

    Attributes:
        gain, gamma, saturation, haze, ambient, shadow, vignette, defocus, motion, noise, tilt: [C].
        side: [C] direction of the light, -1 from the left, 1 from the right.
        white, haze_colour: [C, 3].
        native, jpeg: [C, 2] least and greatest.
        viewpoints: [C, 5] weights: a camera over a door sees fronts, the one behind it backs.
    """

    gain: Floats
    gamma: Floats
    saturation: Floats
    haze: Floats
    ambient: Floats
    shadow: Floats
    vignette: Floats
    defocus: Floats
    motion: Floats
    noise: Floats
    tilt: Floats
    side: Floats
    white: Floats
    haze_colour: Floats
    native: Floats
    jpeg: Floats
    viewpoints: Floats

    def take(self, rows: Ints) -> Self:
        """The cameras of the given rows, in that order; a row may come more than once."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def draw_cameras(domain: Domain, seed: int) -> Cameras:
    """Varies the domain's numbers from camera to camera, by `domain.variety`."""
    count, spread = domain.cameras, domain.variety
    draws = Draws(seed, f"camera/{domain.name}", np.arange(count))

    def around(value: float, deviation: float) -> Floats:
        most = 2 * deviation * spread
        varied: Floats = value * np.exp(draws.normal(deviation * spread).clip(-most, most))
        return varied

    warm = np.exp(draws.normal(0.06 * spread))
    white = np.array(domain.white, np.float32) * np.stack([warm, np.exp(draws.normal(0.02 * spread)), 1 / warm], axis=1)
    sharp = around(1.0, 0.15)[:, None]
    taste = np.exp(np.stack([draws.normal(0.8 * spread) for _ in domain.viewpoints], axis=1))
    return Cameras(
        gain=around(domain.gain, 0.10),
        gamma=around(domain.gamma, 0.08),
        saturation=around(domain.saturation, 0.10),
        haze=around(domain.haze, 0.2).clip(0, 0.8),
        ambient=around(domain.ambient, 0.12).clip(0, 0.95),
        shadow=around(domain.shadow, 0.2).clip(0, 0.9),
        vignette=around(domain.vignette, 0.3),
        defocus=around(domain.defocus, 0.25),
        motion=around(domain.motion, 0.25),
        noise=around(domain.noise, 0.25),
        tilt=draws.uniform(*domain.tilt),
        side=draws.uniform(-1, 1),
        white=white.astype(np.float32),
        haze_colour=np.repeat(np.array([domain.haze_colour], np.float32), count, axis=0),
        native=np.array([domain.native], np.float32) * sharp,
        jpeg=np.clip(np.array([domain.jpeg], np.float32) + draws.normal(5 * spread)[:, None], 8, 98),
        viewpoints=np.array([domain.viewpoints], np.float32) * taste,
    )


def draw_views(domain: Domain, seed: int, size: tuple[int, int]) -> Floats:
    """[C, 3, 1.5 H, 8 W] what each camera sees without people, for pictures of `size` (height, width)."""
    label = Draws(seed, f"view/{domain.name}", np.arange(domain.cameras)).integers(2**20)
    views = [paint_panorama(domain.scene, size, np.random.default_rng([seed, int(n)])) for n in label]
    return np.ascontiguousarray(np.stack(views).transpose(0, 3, 1, 2))
