"""Draws people: N identities in N poses become N pictures with transparency, part by part from back to front."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from passerby.data.synthetic.draws import Floats, Ints
from passerby.data.synthetic.garment import folds, shading, sleeve_colour, surface_angle, torso_colour
from passerby.data.synthetic.head import draw_head, draw_tail
from passerby.data.synthetic.person import Bag, Bottom, People, Top
from passerby.data.synthetic.pose import Body, Limbs, Point, Poses, limbs
from passerby.data.synthetic.shapes import Canvas, box, ellipse, everywhere, limb, tube


@dataclass(frozen=True)
class Light:
    """Light on N pictures.

    Attributes:
        side: [N] direction, -1 from the left, 1 from the right.
        ambient: [N] share that comes from everywhere: 1 flattens all shape.
        shadow: [N] darkness of the shadow on the ground, 0..1.
    """

    side: Floats
    ambient: Floats
    shadow: Floats

    def take(self, rows: Ints | slice) -> Self:
        """The light on the pictures of the given rows."""
        return type(self)(self.side[rows], self.ambient[rows], self.shadow[rows])


def draw_people(people: People, poses: Poses, light: Light, size: tuple[int, int]) -> Canvas:
    """Draws one person in each picture.

    Args:
        people: N identities, one for each picture.
        poses: N viewpoints and places.
        light: of the N pictures.
        size: height and width, pixels.
    """
    figure = _Figure(people, poses, light, size)
    away = figure.body.cos < 0
    near = figure.body.nearer
    figure.shadow()
    figure.backpack(~away)
    draw_tail(figure.canvas, people, figure.body, light.ambient, ~away)
    figure.bag(people.side != near)
    figure.arm(-near)
    figure.leg(-near)
    figure.leg(near)
    figure.hips()
    figure.torso()
    figure.strap()
    draw_head(figure.canvas, people, figure.body, light.side, light.ambient)
    figure.arm(near)
    figure.bag(people.side == near)
    figure.backpack(away)
    draw_tail(figure.canvas, people, figure.body, light.ambient, away)
    return figure.canvas


class _Figure:
    """The parts of the bodies on one canvas."""

    def __init__(self, people: People, poses: Poses, light: Light, size: tuple[int, int]) -> None:
        self.canvas = Canvas(len(people), size)
        self.people, self.poses, self.light = people, poses, light
        self.body = Body(poses, people.stature, size)
        self.all = everywhere(len(people))
        bulk = np.where(people.top_kind == Top.COAT, 1.10, np.where(people.top_kind <= Top.TSHIRT, 0.97, 1.03))
        self.bulk = (people.girth * bulk).astype(np.float32)
        self.shoulder = (0.122 - 0.016 * people.curve) * (0.5 + 0.5 * self.bulk)
        self.hip = (0.046 + 0.010 * people.curve) * (0.4 + 0.6 * people.girth)
        self.sides = {
            side: limbs(self.body, poses, np.full(len(people), side, np.float32), self.shoulder, self.hip)
            for side in (-1, 1)
        }

    def limbs(self, side: Floats) -> Limbs:
        """The joints of the given side [N] of each body."""
        right, left = self.sides[-1], self.sides[1]

        def pick(name: str) -> Point:
            a, b = getattr(right, name), getattr(left, name)
            return np.where(side > 0, b[0], a[0]), np.where(side > 0, b[1], a[1])

        return Limbs(**{name: pick(name) for name in Limbs.__dataclass_fields__})

    def rod(
        self, start: Point, end: Point, r0: Floats, r1: Floats, colour: Floats, shown: NDArray[np.bool_] | None = None
    ) -> None:
        """A shaded limb of one colour [N, 3]; radii in body heights."""
        pictures = slice(None) if shown is None else np.flatnonzero(shown)
        scale, light = self.body.scale[pictures], self.light.take(pictures)
        start, end = (start[0][pictures], start[1][pictures]), (end[0][pictures], end[1][pictures])
        patch = limb(self.canvas, start, end, r0[pictures] * scale, r1[pictures] * scale, everywhere(len(scale)))
        self.canvas.paint(patch, colour[pictures], shading(patch.across, light.side, light.ambient), pictures)

    def shadow(self) -> None:
        """A soft dark spot on the ground, away from the light."""
        scale = self.body.scale
        x, y = self.body.place(0.0, 0.985, 0.0)
        patch = ellipse(
            self.canvas, (x - 0.08 * scale * self.light.side, y), 0.20 * scale, 0.035 * scale, self.light.shadow > 0
        )
        down = patch.along * 2 - 1
        soft = (1 - patch.across**2 - down * down).clip(0, 1) * self.light.shadow[:, None, None]
        self.canvas.alpha[:, *patch.window] = soft

    def leg(self, side: Floats) -> None:
        """Thigh, shin and shoe of one side."""
        people, joints = self.people, self.limbs(side)
        bare_shin = people.bottom_kind != Bottom.TROUSERS
        bare_thigh = people.bottom_kind >= Bottom.SKIRT
        cut = np.where(bare_shin, 1.0, people.cut)
        girth = 0.35 + 0.65 * people.girth
        # The farther leg lies in the shade of the nearer one.
        dim = np.where(side == self.body.nearer, 1.0, 0.82)[:, None].astype(np.float32)
        thigh = np.where(bare_thigh[:, None], people.skin, people.bottom) * dim
        shin = np.where(bare_shin[:, None], people.skin, people.bottom) * dim
        ankle_width = np.where(bare_shin, 0.018, 0.026 * cut)
        self.rod(joints.heel, joints.toe, np.full_like(girth, 0.019), np.full_like(girth, 0.016), people.shoes * dim)
        self.rod(joints.knee, joints.ankle, np.where(bare_shin, 0.031, 0.034 * cut) * girth, ankle_width, shin)
        self.rod(joints.hip, joints.knee, 0.053 * girth, np.where(bare_thigh, 0.034, 0.037 * cut) * girth, thigh)
        wide = people.bottom_kind == Bottom.SHORTS
        self.rod(joints.hip, joints.knee, 0.054 * girth, 0.044 * girth, people.bottom * dim, wide)

    def arm(self, side: Floats) -> None:
        """Upper arm, forearm and hand of one side."""
        people, joints, scale = self.people, self.limbs(side), self.body.scale
        loose = (0.4 + 0.6 * self.bulk) * np.where(people.sleeve > 0.9, 1.15, 1.0).astype(np.float32)
        dim = np.where(side == self.body.nearer, 1.0, 0.85)[:, None, None].astype(np.float32)
        self.rod(joints.wrist, joints.hand, 0.017 * people.girth, np.full_like(scale, 0.013), people.skin * dim[:, 0])
        for start, end, r0, r1, begin, height in (
            (joints.elbow, joints.wrist, 0.027, 0.019, 0.5, 0.45),
            (joints.shoulder, joints.elbow, 0.030, 0.027, 0.0, 0.0),
        ):
            patch = limb(self.canvas, start, end, r0 * loose * scale, r1 * loose * scale, self.all)
            light = shading(patch.across, self.light.side, self.light.ambient)
            self.canvas.paint(patch, sleeve_colour(people, patch.along, begin, height), light * dim)

    def _tube(self, knots: list[tuple[Floats | float, Floats, Floats]]) -> tuple[Floats, Floats, Floats]:
        """Axis, rows and half widths of a tube, from (height, half width, half depth) in body heights."""
        places = [self.body.place(0.0, y, 0.0) for y, _, _ in knots]
        widths = [self.body.width(x, z) for _, x, z in knots]
        return np.stack([p[0] for p in places], 1), np.stack([p[1] for p in places], 1), np.stack(widths, 1)

    def hips(self) -> None:
        """The seat of the trousers, or a skirt down to its hem."""
        people, girth = self.people, self.people.girth
        skirt, long = people.bottom_kind == Bottom.SKIRT, people.bottom_kind == Bottom.LONG_SKIRT
        hem = np.where(skirt, 0.67, np.where(long, 0.86, 0.545)).astype(np.float32)
        flare = np.where(skirt, 0.125, np.where(long, 0.135, 0.086)).astype(np.float32)
        hip = (0.084 + 0.014 * people.curve) * girth
        axis, rows, widths = self._tube(
            [
                (0.42, hip * 0.85, hip * 0.72),
                (0.50, hip, hip * 0.85),
                (hem, flare * girth, np.where(skirt | long, flare * 0.9, 0.066) * girth),
            ]
        )
        patch = tube(self.canvas, axis, rows, widths, 0.06 * self.body.scale * self.body.tilt, self.all)
        light = shading(patch.across, self.light.side, self.light.ambient)
        crease = folds(self.poses.phase, patch.across, patch.along * 0.25)
        self.canvas.paint(patch, people.bottom, light * crease)

    def torso(self) -> None:
        """The upper garment: a tank top ends at the hip, a coat or a dress well below it."""
        people, bulk = self.people, self.bulk
        waist = (0.086 - 0.012 * people.curve) * bulk
        hip = (0.086 + 0.012 * people.curve) * bulk
        low = people.hem > 0.56
        hem_width = np.where(
            low, hip * np.where(people.top_kind == Top.DRESS, 1.0 + 1.6 * (people.hem - 0.5), 1.12), hip
        )
        axis, rows, widths = self._tube(
            [
                (0.148, 0.030 * bulk, 0.034 * bulk),
                (0.172, 0.066 * bulk, 0.046 * bulk),
                (0.196, self.shoulder * 0.97, 0.060 * bulk),
                (0.27, self.shoulder * 0.92, 0.074 * bulk),
                (0.40, waist, waist * 0.78),
                (people.hem - 0.01, hem_width, hem_width * 0.82),
                (people.hem, hem_width, hem_width * 0.82),
            ]
        )
        patch = tube(self.canvas, axis, rows, widths, 0.07 * self.body.scale * self.body.tilt, self.all)
        angle = surface_angle(patch.across, self.body.yaw)
        height = 0.148 + patch.along * (people.hem - 0.148)[:, None, None]
        light = shading(patch.across, self.light.side, self.light.ambient) * folds(self.poses.phase, angle, height)
        self.canvas.paint(patch, torso_colour(people, patch, angle, height), light)

    def strap(self) -> None:
        """The strap of a shoulder bag, across the body."""
        people = self.people
        shown = people.bag_kind == Bag.SHOULDER
        flip = np.where(self.body.cos < 0, -1, 1).astype(np.float32)
        start = self.body.place(-people.side * 0.07, 0.175, 0.05 * flip)
        end = self.body.place(people.side * 0.10, 0.44, 0.06 * flip)
        width = np.full_like(people.girth, 0.010)
        self.rod(start, end, width, width, people.bag * np.float32(0.8), shown)

    def bag(self, here: NDArray[np.bool_]) -> None:
        """A shoulder bag at the hip or a bag in the hand."""
        people, scale = self.people, self.body.scale
        shoulder = people.bag_kind == Bag.SHOULDER
        held = people.bag_kind == Bag.HANDHELD
        hand = self.limbs(people.side).hand
        hip = self.body.place(people.side * (self.hip + 0.075), 0.49, -0.01)
        x = np.where(held, hand[0], hip[0])
        y = np.where(held, hand[1] + 0.075 * scale, hip[1])
        half_width = np.where(held, self.body.width(0.022, 0.075), self.body.width(0.032, 0.062))
        half_height = np.where(held, 0.065 * scale, 0.052 * scale)
        self._leather((x, y), half_width, half_height, 0.014 * scale, (shoulder | held) & here)

    def backpack(self, here: NDArray[np.bool_]) -> None:
        """A backpack between shoulders and waist."""
        people, scale = self.people, self.body.scale
        centre = self.body.place(0.0, 0.295, -(0.072 * self.bulk + 0.042))
        half_width = self.body.width(0.082, 0.056)
        self._leather(centre, half_width, 0.112 * scale, 0.035 * scale, (people.bag_kind == Bag.BACKPACK) & here)

    def _leather(self, centre: Point, rx: Floats, ry: Floats, corner: Floats, shown: NDArray[np.bool_]) -> None:
        """A rounded bag with a lighter upper edge and a pocket's seam."""
        pictures = np.flatnonzero(shown)
        centre, rx, ry = (centre[0][pictures], centre[1][pictures]), rx[pictures], ry[pictures]
        corner, light = np.minimum(corner[pictures], np.minimum(rx, ry)), self.light.take(pictures)
        patch = box(self.canvas, centre, rx, ry, corner, everywhere(len(pictures)))
        lit = shading(patch.across * 0.8, light.side, light.ambient)
        seam = 1 - 0.35 * (1 - np.abs(patch.along - 0.52) * 14).clip(0, 1) * (np.abs(patch.across) < 0.75)
        self.canvas.paint(patch, self.people.bag[pictures], lit * seam * (1.12 - 0.25 * patch.along), pictures)
