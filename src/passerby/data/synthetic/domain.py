"""A domain: one place, its people and its cameras, as plain numbers that can be mixed."""

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TypeVar

import numpy as np

from passerby.data.synthetic.person import Wardrobe
from passerby.data.synthetic.scene import Colour, Scene
from passerby.errors import PasserbyError

T = TypeVar("T")


@dataclass(frozen=True)
class Domain:
    """What sets one data set of pedestrians apart from another. Lengths in pixels are for pictures of 128 rows.

    Attributes:
        name: of the domain; a folder's name when it is written to disk.
        cameras: how many watch it, 2 to 9.
        scene: the place.
        wardrobe: what its people wear.
        gain: exposure.
        gamma: of the tone curve; above 1 darkens.
        saturation: of the colours, 1 leaves them as they are.
        white: gains of red, green and blue.
        haze: share of light scattered before the camera, 0..1.
        haze_colour: of that light.
        ambient: share of light without direction: low in sun, high under clouds.
        shadow: darkness of shadows on the ground, 0..1.
        vignette: darkening of the corners, 0..1.
        defocus: standard deviation of the blur, pixels.
        motion: standard deviation of the blur along the way people walk, pixels.
        native: fewest and most rows of a person's picture as the camera saw it, before it was scaled to its
            final size; more than the final size counts as the final size.
        noise: standard deviation of the sensor's noise over full scale, at mid grey.
        jpeg: lowest and highest JPEG quality.
        viewpoints: weights of front, front oblique, side, back oblique and back.
        tilt: least and greatest angle at which cameras look down, radians.
        fill: least and greatest body height over the picture's height.
        misalign: standard deviation of the box's place, over the picture's size.
        occluders: probability that something stands before the person.
        crowd: probability that somebody else walks beside the person.
        rain, snow: amounts in the air, 0..1.
        variety: how much its cameras differ from each other; 1 is usual.
    """

    name: str
    cameras: int = 4
    scene: Scene = field(default_factory=Scene)
    wardrobe: Wardrobe = field(default_factory=Wardrobe)
    gain: float = 1.0
    gamma: float = 1.0
    saturation: float = 1.0
    white: Colour = (1.0, 1.0, 1.0)
    haze: float = 0.0
    haze_colour: Colour = (0.8, 0.82, 0.85)
    ambient: float = 0.55
    shadow: float = 0.3
    vignette: float = 0.1
    defocus: float = 0.5
    motion: float = 0.2
    native: tuple[float, float] = (92.0, 140.0)
    noise: float = 0.012
    jpeg: tuple[float, float] = (75.0, 92.0)
    viewpoints: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)
    tilt: tuple[float, float] = (0.08, 0.22)
    fill: tuple[float, float] = (0.82, 0.92)
    misalign: float = 0.02
    occluders: float = 0.08
    crowd: float = 0.12
    rain: float = 0.0
    snow: float = 0.0
    variety: float = 1.0

    def __post_init__(self) -> None:
        if not 2 <= self.cameras <= 9:
            raise PasserbyError(f"cameras={self.cameras} of domain '{self.name}': a domain has 2 to 9 cameras")


NEUTRAL = Domain("neutral")
"""An overcast street through decent cameras: the place from which `shifted_domain` moves away."""


def mix(start: T, end: T, amount: float) -> T:
    """Moves every number of `start` towards `end`'s; 0 gives `start`, 1 gives `end`.

    Works on numbers, tuples and dataclasses of them. Names stay those of `start`, whole numbers are rounded.
    """
    if is_dataclass(start) and not isinstance(start, type):
        changed = {f.name: mix(getattr(start, f.name), getattr(end, f.name), amount) for f in fields(start)}
        return replace(start, **changed)
    if isinstance(start, tuple) and isinstance(end, tuple):
        return type(start)(mix(a, b, amount) for a, b in zip(start, end, strict=True))
    if isinstance(start, float) and isinstance(end, float):
        return type(start)(start + (end - start) * amount)
    if isinstance(start, int) and isinstance(end, int):
        return type(start)(round(start + (end - start) * amount))
    return start


def shifted_domain(amount: float, seed: int) -> Domain:
    """A domain at a chosen distance from `NEUTRAL`.

    The seed picks a direction (darker or brighter, warmer or colder, sharper or coarser, another place and season), the
    amount how far to go; every number moves in a straight line, so the shift grows with the amount.

    Args:
        amount: from 0 (neutral) to 1 (as far as real sites differ).
        seed: of the direction.

    Raises:
        PasserbyError: when `amount` is outside 0..1 or `seed` is negative.
    """
    if not 0 <= amount <= 1:
        raise PasserbyError(f"amount={amount} of a shifted domain: must lie between 0 and 1")
    if seed < 0:
        raise PasserbyError(f"seed={seed} of a shifted domain: must be at least 0")
    far = _far_domain(np.random.default_rng([seed, 0x5417]))
    return replace(mix(NEUTRAL, far, amount), name=f"shifted-{round(100 * amount):03d}-{seed}")


def _far_domain(rng: np.random.Generator) -> Domain:
    """A domain far from neutral: directions are random, distances nearly the same."""

    def either(low: float, high: float) -> float:
        return (low if rng.random() < 0.5 else high) * float(rng.uniform(0.95, 1.05))

    def colour(low: float, high: float) -> Colour:
        r, g, b = rng.uniform(low, high, 3)
        return float(r), float(g), float(b)

    def weights(count: int) -> tuple[float, ...]:
        return tuple(float(w) for w in rng.dirichlet(np.full(count, 0.8)) * count)

    warm = either(0.83, 1.2)
    rows = either(56.0, 112.0)
    quality = float(rng.uniform(30, 50))
    ground, wall, sky = ((0.12, 0.35), (0.6, 0.95))[int(rng.integers(2))], (0.15, 0.9), (0.1, 1.0)
    front, oblique, side, back_oblique, back = weights(5)
    tilt = either(0.02, 0.42)
    scene = Scene(
        ground=colour(*ground),
        wall=colour(*wall),
        sky=colour(*sky),
        horizon=either(0.12, 0.58),
        skyline=either(-0.2, 0.2),
        **{
            name: float(rng.uniform(0, 1))
            for name in (
                "tiles",
                "grain",
                "windows",
                "signs",
                "greenery",
                "pillars",
                "clutter",
                "lamps",
                "stripes",
                "wet",
            )
        },
    )
    wardrobe = Wardrobe(
        tops=weights(7),
        bottoms=weights(4),
        textures=weights(5),
        bags=weights(4),
        brightness=either(0.1, 0.9),
        vividness=either(0.2, 0.85),
    )
    return Domain(
        name="far",
        scene=scene,
        wardrobe=wardrobe,
        gain=either(0.7, 1.2),
        gamma=either(0.72, 1.45),
        saturation=either(0.55, 1.25),
        white=(warm, float(rng.uniform(0.92, 1.08)), 1 / warm),
        haze=float(rng.uniform(0.12, 0.3)),
        haze_colour=colour(0.3, 0.9),
        ambient=either(0.3, 0.85),
        shadow=either(0.1, 0.6),
        vignette=0.4,
        defocus=0.9,
        motion=0.6,
        native=(rows * 0.8, rows * 1.2),
        noise=0.035,
        jpeg=(quality, quality + 20),
        viewpoints=(front, oblique, side, back_oblique, back),
        tilt=(tilt * 0.8, tilt * 1.2),
        fill=(0.78, 0.98),
        misalign=0.05,
        occluders=0.25,
        crowd=0.3,
        rain=either(0.0, 0.4),
        snow=either(0.0, 0.4),
    )
