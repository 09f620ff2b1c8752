"""What stands behind people: a panorama for each camera, of which every picture shows a piece."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from passerby.data.synthetic.draws import Floats

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """A kind of place, as amounts of what one finds there (0 none, 1 a lot) and colours (reflectances 0..1).

    Attributes:
        ground, wall, sky: colours of the three bands from bottom to top (indoors the sky is the ceiling).
        horizon: row over the picture's height at which the ground begins.
        skyline: row over the picture's height at which the walls end, on average.
        tiles: contrast of joints in the ground.
        grain: contrast of fine structure everywhere.
        windows, signs, greenery, pillars, clutter, lamps: amounts; clutter is parked things and people far off.
        stripes: painted lines on the ground.
        wet: how much the ground mirrors.
    """

    ground: Colour = (0.50, 0.49, 0.47)
    wall: Colour = (0.55, 0.52, 0.48)
    sky: Colour = (0.75, 0.80, 0.85)
    horizon: float = 0.38
    skyline: float = -0.10
    tiles: float = 0.25
    grain: float = 0.25
    windows: float = 0.4
    signs: float = 0.15
    greenery: float = 0.25
    pillars: float = 0.15
    clutter: float = 0.3
    lamps: float = 0.0
    stripes: float = 0.1
    wet: float = 0.0


MARGIN = 0.25
"""Rows above and below the picture, over its height, that a panorama holds so that the view can shift."""


def paint_panorama(scene: Scene, size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Paints what a camera sees without people.

    Args:
        scene: the place.
        size: height and width of a picture; the panorama is 1.5 times as high and 8 times as wide.
        rng: decides what stands where.

    Returns:
        [1.5 H, 8 W, 3] light in 0..1, brighter than 1 at lamps.
    """
    height, width = int(size[0] * (1 + 2 * MARGIN)), size[1] * 8
    painter = _Painter(scene, size[0], height, width, rng)
    painter.bands()
    painter.buildings()
    painter.greenery()
    painter.pillars()
    painter.ground()
    painter.clutter()
    return painter.finish()


class _Painter:
    def __init__(self, scene: Scene, unit: int, height: int, width: int, rng: np.random.Generator) -> None:
        self.scene, self.unit, self.height, self.width, self.rng = scene, unit, height, width, rng
        self.horizon = int((scene.horizon + MARGIN) * unit)
        self.image = Image.new("RGB", (width, height))
        self.pen = ImageDraw.Draw(self.image)

    def ink(self, colour: Colour, spread: float = 0.0, factor: float = 1.0) -> tuple[int, int, int]:
        """A colour of eight bits near `colour`."""
        shade = factor * (1 + self.rng.normal(0, spread))
        r, g, b = (int(np.clip(c * shade * (1 + self.rng.normal(0, spread * 0.3)), 0, 1) * 255) for c in colour)
        return r, g, b

    def count(self, amount: float, most: int) -> int:
        """How many of something: Poisson, `most` on average at amount 1."""
        return int(self.rng.poisson(amount * most))

    def bands(self) -> None:
        self.pen.rectangle((0, 0, self.width, self.height), fill=self.ink(self.scene.sky, 0.03))

    def buildings(self) -> None:
        scene, rng, x = self.scene, self.rng, 0
        while x < self.width:
            wide = int(rng.uniform(0.4, 2.2) * self.unit)
            top = min(int((scene.skyline + MARGIN + rng.normal(0, 0.06)) * self.unit), self.horizon - self.unit // 16)
            wall = self.ink(scene.wall, 0.16)
            self.pen.rectangle((x, top, x + wide, self.horizon), fill=wall)
            pane = self.ink(scene.sky if rng.random() < 0.5 else (0.1, 0.11, 0.14), 0.2)
            if rng.random() < scene.windows:
                step_x, step_y = int(self.unit * rng.uniform(0.09, 0.22)), int(self.unit * rng.uniform(0.10, 0.2))
                for wy in range(top + step_y // 3, self.horizon - step_y // 2, step_y):
                    for wx in range(x + step_x // 3, x + wide - step_x // 2, step_x):
                        self.pen.rectangle((wx, wy, wx + step_x // 2, wy + step_y * 3 // 5), fill=pane)
            if rng.random() < 0.5:
                door = x + int(rng.uniform(0.1, 0.8) * wide)
                self.pen.rectangle(
                    (door, self.horizon - int(0.28 * self.unit), door + int(0.14 * self.unit), self.horizon), fill=pane
                )
            x += wide
        for _ in range(self.count(scene.signs, 22)):
            x, y = int(rng.uniform(0, self.width)), int(self.horizon - rng.uniform(0.1, 0.5) * self.unit)
            vivid = tuple(rng.permutation([rng.uniform(0.6, 1), rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.3)]))
            w, h = int(rng.uniform(0.08, 0.35) * self.unit), int(rng.uniform(0.05, 0.2) * self.unit)
            self.pen.rectangle((x, y, x + w, y + h), fill=self.ink(vivid))
            for line in range(y + 2, y + h - 1, 3):
                self.pen.line((x + 2, line, x + int(w * rng.uniform(0.4, 0.9)), line), fill=self.ink((0.95, 0.95, 0.9)))

    def greenery(self) -> None:
        rng = self.rng
        for _ in range(self.count(self.scene.greenery, 26)):
            tree = rng.random() < 0.5
            x, base = rng.uniform(0, self.width), self.horizon + rng.uniform(-0.02, 0.05) * self.unit
            high, wide = (rng.uniform(0.35, 0.7), 0.22) if tree else (rng.uniform(0.05, 0.12), rng.uniform(0.15, 0.4))
            if tree:
                self.pen.rectangle(
                    (x - 2, base - high * self.unit, x + 2, base), fill=self.ink((0.25, 0.19, 0.14), 0.2)
                )
            green = (rng.uniform(0.14, 0.34), rng.uniform(0.32, 0.5), rng.uniform(0.10, 0.24))
            for _ in range(50):
                cx, cy = (
                    x + rng.normal(0, wide / 2) * self.unit,
                    base - (high + rng.normal(0, 0.1 if tree else 0.03)) * self.unit,
                )
                r = rng.uniform(0.02, 0.06) * self.unit
                self.pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=self.ink(green, 0.25))

    def pillars(self) -> None:
        for _ in range(self.count(self.scene.pillars, 24)):
            x, wide = self.rng.uniform(0, self.width), self.rng.uniform(0.02, 0.14) * self.unit
            foot = self.horizon + self.rng.uniform(0, 0.15) * self.unit
            for k in range(6):
                ink = self.ink(self.scene.wall, 0.02, 0.55 + 0.6 * float(np.sin(np.pi * (k + 0.7) / 6)))
                self.pen.rectangle((x + wide * k / 6, 0, x + wide * (k + 1) / 6, foot), fill=ink)

    def ground(self) -> None:
        scene, rng, depth = self.scene, self.rng, self.height - self.horizon
        for y in range(self.horizon, self.height):
            self.pen.line(
                (0, y, self.width, y), fill=self.ink(scene.ground, 0.01, 0.82 + 0.25 * (y - self.horizon) / depth)
            )
        joint = self.ink(scene.ground, 0.0, 1 - 0.6 * scene.tiles)
        slant = rng.uniform(-1.5, 1.5)
        if scene.tiles > 0.05:
            for k in range(1, 14):
                row = self.horizon + depth * (k / 14) ** 1.8
                self.pen.line((0, row, self.width, row), fill=joint)
            for x in np.arange(-self.width, 2 * self.width, rng.uniform(0.12, 0.3) * self.unit):
                self.pen.line((x, self.horizon, x + slant * depth, self.height), fill=joint)
        for _ in range(self.count(scene.stripes, 14)):
            x, top = rng.uniform(0, self.width), self.horizon + depth * rng.uniform(0.05, 0.9)
            wide, thick = rng.uniform(0.4, 2) * self.unit, rng.uniform(0.015, 0.05) * self.unit
            paint = self.ink((0.9, 0.88, 0.82) if rng.random() < 0.7 else (0.9, 0.75, 0.15), 0.05)
            self.pen.polygon(
                (x, top, x + wide, top, x + wide + slant * thick, top + thick, x + slant * thick, top + thick),
                fill=paint,
            )

    def clutter(self) -> None:
        rng, unit = self.rng, self.unit
        for _ in range(self.count(self.scene.clutter, 16)):
            x, base = rng.uniform(0, self.width), self.horizon + rng.uniform(0.02, 0.2) * unit
            dark = self.ink((rng.uniform(0.05, 0.7), rng.uniform(0.05, 0.6), rng.uniform(0.05, 0.6)))
            if rng.random() < 0.6:  # somebody far off
                h = rng.uniform(0.22, 0.5) * unit
                legs = self.ink((0.14, 0.15, 0.2), 0.4)
                self.pen.rectangle((x - 0.07 * h, base - 0.5 * h, x - 0.01 * h, base), fill=legs)
                self.pen.rectangle((x + 0.02 * h, base - 0.5 * h, x + 0.08 * h, base), fill=legs)
                self.pen.ellipse((x - 0.13 * h, base - 0.87 * h, x + 0.13 * h, base - 0.42 * h), fill=dark)
                self.pen.ellipse(
                    (x - 0.06 * h, base - h, x + 0.06 * h, base - 0.85 * h), fill=self.ink((0.5, 0.36, 0.28), 0.3)
                )
            else:  # something parked: a car, a bench, a bin
                w, h = rng.uniform(0.15, 0.9) * unit, rng.uniform(0.10, 0.22) * unit
                self.pen.rounded_rectangle((x, base - h, x + w, base), radius=h / 3, fill=dark)
                self.pen.rectangle(
                    (x + w * 0.2, base - h * 0.85, x + w * 0.8, base - h * 0.5), fill=self.ink((0.2, 0.22, 0.25), 0.2)
                )
                self.pen.rectangle((x, base - h * 0.12, x + w, base), fill=self.ink((0.08, 0.08, 0.08)))

    def finish(self) -> Floats:
        scene, rng = self.scene, self.rng
        soft = self.image.filter(ImageFilter.GaussianBlur(self.unit / 160))
        light = np.asarray(soft, np.float32) / 255
        if scene.wet > 0:
            above = light[: self.horizon][::-1][: self.height - self.horizon]
            mirror = np.asarray(
                Image.fromarray((above * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(self.unit / 25)),
                np.float32,
            )
            light[self.horizon : self.horizon + len(mirror)] *= 1 - 0.5 * scene.wet
            light[self.horizon : self.horizon + len(mirror)] += 0.5 * scene.wet * mirror / 255
        y, x = np.mgrid[: self.height, : self.width].astype(np.float32)
        for _ in range(self.count(scene.lamps, 14)):
            at_x, at_y = rng.uniform(0, self.width), rng.uniform(-0.2, scene.horizon) * self.unit + MARGIN * self.unit
            warm = np.array([1.0, rng.uniform(0.7, 1.0), rng.uniform(0.4, 1.0)], np.float32)
            near = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * (0.035 * self.unit) ** 2))
            streak = np.exp(-((x - at_x) ** 2) / (2 * (0.04 * self.unit) ** 2)) * (y > self.horizon) * scene.wet * 0.4
            light += (1.6 * near + streak)[:, :, None] * warm
        coarse = rng.normal(0, 1, (self.height // 6 + 1, self.width // 6 + 1)).astype(np.float32)
        cloud = np.asarray(Image.fromarray(coarse).resize((self.width, self.height), Image.Resampling.BICUBIC))
        fine = rng.normal(0, 1, light.shape[:2]).astype(np.float32)
        light *= np.clip(1 + scene.grain * (0.10 * cloud + 0.08 * fine), 0.3, 1.7)[:, :, None]
        return light
