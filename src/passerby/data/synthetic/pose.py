"""How a person stands before the camera: viewpoint, phase of the gait, and where the body falls in the picture."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from passerby.data.synthetic.draws import Floats, Ints

Point = tuple[Floats, Floats]
"""[N] columns and [N] rows, in pixels."""


@dataclass(frozen=True)
class Poses:
    """One row an image.

    Attributes:
        yaw: [N] radians; 0 faces the camera, pi/2 walks to the right of the picture, pi shows the back.
        phase: [N] radians of the gait cycle.
        stride: [N] largest angle of the thigh, radians; 0 stands still.
        tilt: [N] radians by which the camera looks down.
        centre: [N] column of the body's axis over the picture's width.
        top: [N] row of the top of the head over the picture's height.
        height: [N] body height (of an average person) over the picture's height.
    """

    yaw: Floats
    phase: Floats
    stride: Floats
    tilt: Floats
    centre: Floats
    top: Floats
    height: Floats

    def take(self, rows: Ints) -> Self:
        """The poses of the given rows."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


class Body:
    """Places points of the body in the picture (orthographic, the camera looking slightly down).

    Body coordinates are in body heights: `x` to the person's left, `y` down from the top of the head, `z` forward.
    """

    def __init__(self, poses: Poses, stature: Floats, size: tuple[int, int]) -> None:
        """Prepares the projection.

        Args:
            poses: N poses.
            stature: [N] body heights over the average.
            size: height and width of the picture, in pixels.
        """
        rows, columns = size
        self.yaw, self.tilt = poses.yaw, poses.tilt
        self.cos, self.sin = np.cos(poses.yaw), np.sin(poses.yaw)
        self.scale = poses.height * stature * np.float32(rows)
        """[N] pixels a body height."""
        self._column = poses.centre * np.float32(columns)
        # Feet stay on the ground: a short person leaves room above the head, not below the soles.
        self._row = (poses.top + poses.height * (1 - stature)) * np.float32(rows)
        self.nearer = np.where(self.sin < 0, 1, -1).astype(np.float32)
        """[N] the side (1: the person's left) that is closer to the camera."""

    def place(self, x: Floats | float, y: Floats | float, z: Floats | float) -> Point:
        """Columns and rows of one point of each body."""
        toward = z * self.cos - x * self.sin
        column = self._column + self.scale * (x * self.cos + z * self.sin)
        row = self._row + self.scale * (y + toward * self.tilt)
        return column, row

    def width(self, x: Floats | float, z: Floats | float) -> Floats:
        """[N] half width in pixels, seen from here, of an upright ellipse with half axes `x` and `z`."""
        return self.scale * np.sqrt((x * self.cos) ** 2 + (z * self.sin) ** 2)


@dataclass(frozen=True)
class Limbs:
    """Joints of one leg and one arm, each a point of [N] columns and [N] rows."""

    hip: Point
    knee: Point
    ankle: Point
    heel: Point
    toe: Point
    shoulder: Point
    elbow: Point
    wrist: Point
    hand: Point


def limbs(body: Body, poses: Poses, side: Floats, shoulder: Floats, hip: Floats) -> Limbs:
    """Joints of one side of each body.

    Args:
        body: the projection.
        poses: the same N poses.
        side: [N] 1 for the person's left, -1 for the right.
        shoulder: [N] half width of the shoulders, body heights.
        hip: [N] half distance of the hip joints, body heights.
    """
    swing = poses.stride * np.sin(poses.phase) * side
    lifting = np.maximum(0, np.cos(poses.phase) * side)
    shin = swing - poses.stride * (0.25 + 1.5 * lifting)
    x = side * hip
    knee = 0.50 + 0.245 * np.cos(swing), 0.245 * np.sin(swing)
    ankle = knee[0] + 0.225 * np.cos(shin), knee[1] + 0.225 * np.sin(shin)
    foot = np.minimum(0, 0.6 * shin + 0.15)  # the foot of a trailing leg points down
    arm = -0.75 * swing + 0.06
    fore = arm + 0.15 + 0.5 * poses.stride
    out = side * (shoulder + 0.012)
    elbow = 0.205 + 0.165 * np.cos(arm), 0.165 * np.sin(arm)
    wrist = elbow[0] + 0.145 * np.cos(fore), elbow[1] + 0.145 * np.sin(fore)
    hand = wrist[0] + 0.04 * np.cos(fore), wrist[1] + 0.04 * np.sin(fore)
    return Limbs(
        hip=body.place(x, 0.50, 0.0),
        knee=body.place(x * 1.05, *knee),
        ankle=body.place(x * 1.02, *ankle),
        heel=body.place(x * 1.05, ankle[0] + 0.012, ankle[1] - 0.018),
        toe=body.place(x * 1.35, ankle[0] + 0.016 - 0.075 * np.sin(foot), ankle[1] + 0.085 * np.cos(foot)),
        shoulder=body.place(side * (shoulder - 0.008), 0.205, 0.0),
        elbow=body.place(out + side * 0.012, *elbow),
        wrist=body.place(out + side * 0.010, *wrist),
        hand=body.place(out + side * 0.006, *hand),
    )
