"""Who walks where before a camera, and when: straight ways over flat ground, seen in perspective."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passerby.data.synthetic.draws import Floats, Ints

_CYCLE = 0.82
"""Body heights that two steps cover."""

_PACE = 0.8
"""Body heights a second: 1.35 m/s for a person of 1.7 m."""


@dataclass(frozen=True)
class Ground:
    """How a camera sees flat ground. Lengths on the ground are body heights of an average person, in the picture pixels.

    Attributes:
        width, height: of the picture.
        horizon: row of the horizon.
        focal: focal length.
        eye: height of the camera above the ground.
        near, far: least and greatest distance at which people walk.
    """

    width: int
    height: int
    horizon: float
    focal: float
    eye: float
    near: float
    far: float

    def place(self, x: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
        """Column and row of the feet, and the body height, in pixels, of people `x` to the right and `z` away."""
        scale = self.focal / z
        return self.width / 2 + x * scale, self.horizon + self.eye * scale, scale


def draw_ground(size: tuple[int, int], horizon: float, rng: np.random.Generator) -> Ground:
    """A viewpoint: people are a half to two thirds of the picture high at its lower edge, and a seventh far off.

    Args:
        size: height and width of the picture.
        horizon: row of the horizon.
        rng: decides how high the camera hangs and how wide it sees.
    """
    height, width = size
    tallest = height * rng.uniform(0.48, 0.66)
    smallest = height * rng.uniform(0.14, 0.2)
    eye = (height - horizon) / tallest
    focal = width * rng.uniform(0.9, 1.4)
    return Ground(width, height, horizon, focal, eye, focal / tallest, focal / smallest)


@dataclass(frozen=True)
class Walks:
    """Ways as columns, one row a way; a person who comes back has two.

    Attributes:
        person: [K] who walks.
        moment: [K] seconds at which the walker is at `x`, `z`.
        x, z: [K] place on the ground.
        vx, vz: [K] velocity, body heights a second; both 0 for somebody who stands.
        turn: [K] radians by which somebody who stands turns in a second.
        yaw: [K] where somebody who stands looks at `moment`.
        phase: [K] of the gait at `moment`.
    """

    person: Ints
    moment: Floats
    x: Floats
    z: Floats
    vx: Floats
    vz: Floats
    turn: Floats
    yaw: Floats
    phase: Floats


@dataclass(frozen=True)
class Moment:
    """The people before the camera at one moment, farthest first.

    Attributes:
        person: [n] who.
        column, row: [n] of the feet, pixels.
        scale: [n] pixels a body height.
        yaw, phase, stride, tilt: [n] as in `Poses`.
    """

    person: Ints
    column: Floats
    row: Floats
    scale: Floats
    yaw: Floats
    phase: Floats
    stride: Floats
    tilt: Floats


def draw_walks(ground: Ground, seconds: float, people: float, first_person: int, rng: np.random.Generator) -> Walks:
    """Draws the ways of one shot.

    Some walk across, some come or go, some go in pairs, some stand, some come back after they left.

    Args:
        ground: what the camera sees.
        seconds: length of the shot.
        people: how many are to be seen at a time, on average.
        first_person: number of the first person; every other person gets the next one.
        rng: decides everything.
    """
    standing = rng.poisson(0.08 * people)
    dwell = float(_dwell(ground, _ways(ground, 512, np.zeros(512), rng)).mean())
    # A pair is one way more, and so is a return: each way stands for 1.4 on average.
    count = rng.poisson(max(people - standing, 0) * (seconds + dwell) / dwell / 1.4)
    ways = _ways(ground, count, rng.uniform(-dwell / 2, seconds + dwell / 2, count), rng)
    person = first_person + np.arange(count)
    nobody = first_person + count
    together, back = rng.random(count) < 0.2, rng.random(count) < 0.2
    friends = {name: value[together].copy() for name, value in ways.items()}
    speed = np.hypot(friends["vx"], friends["vz"])
    side = 0.42 * rng.choice([-1.0, 1.0], together.sum())
    friends["x"] += side * friends["vz"] / speed
    friends["z"] -= side * friends["vx"] / speed
    friends["phase"] = rng.uniform(0, 2 * np.pi, together.sum())
    returns = {name: value[back].copy() for name, value in ways.items()}
    returns["moment"] += _dwell(ground, returns) + rng.uniform(1, 4, back.sum())
    returns["vx"], returns["vz"] = -returns["vx"], -returns["vz"]
    returns["z"] = (returns["z"] * rng.uniform(0.9, 1.1, back.sum())).clip(ground.near, ground.far)
    still = _ways(ground, standing, np.zeros(standing), rng)
    still["vx"], still["vz"] = np.zeros(standing), np.zeros(standing)
    still["turn"] = rng.normal(0, 0.15, standing)
    parts = [ways, friends, returns, still]
    who = [person, nobody + np.arange(together.sum()), person[back], nobody + together.sum() + np.arange(standing)]
    columns = {name: np.concatenate([part[name] for part in parts]).astype(np.float32) for name in ways}
    return Walks(person=np.concatenate(who).astype(np.int64), **columns)


def at(walks: Walks, ground: Ground, time: float) -> Moment:
    """Who is before the camera `time` seconds into the shot."""
    passed = np.float32(time) - walks.moment
    x, z = walks.x + walks.vx * passed, walks.z + walks.vz * passed
    there = (z > ground.near * 0.92) & (z < ground.far * 1.25)
    column, row, scale = ground.place(x, np.where(there, z, ground.far))
    there &= (column > -0.35 * scale) & (column < ground.width + 0.35 * scale)
    order = np.flatnonzero(there)
    order = order[np.argsort(-z[order], kind="stable")]
    speed = np.hypot(walks.vx, walks.vz)
    walking = speed > 0
    yaw = np.where(walking, np.arctan2(walks.vx, -walks.vz), walks.yaw + walks.turn * passed)
    # Who is seen at the picture's edge is seen from another side.
    yaw = yaw + np.arctan2(x, z)
    phase = walks.phase + 2 * np.pi / _CYCLE * speed * passed
    stride = np.where(walking, 0.3 * speed / _PACE, 0.04)
    tilt = np.arctan2(max(ground.eye - 0.5, 0), z)  # the camera looks at people's middle
    values = (column, row, scale, yaw, phase % (2 * np.pi), stride, tilt)
    return Moment(walks.person[order], *(v[order].astype(np.float32) for v in values))


def _ways(ground: Ground, count: int, moment: NDArray[Any], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """The columns of `Walks` but `person`: places uniform in the picture, most people walking across."""
    z = np.exp(rng.uniform(np.log(ground.near), np.log(ground.far), count))
    x = rng.uniform(-0.5, 0.5, count) * ground.width * z / ground.focal
    kind, jitter = rng.random(count), rng.normal(0, 0.2, count)
    across = np.where(rng.random(count) < 0.5, 0.0, np.pi)
    along = np.where(rng.random(count) < 0.5, 0.5, -0.5) * np.pi
    anywhere = rng.uniform(-np.pi, np.pi, count)
    way = np.where(kind < 0.5, across, np.where(kind < 0.75, along, anywhere)) + jitter
    speed = _PACE * rng.normal(1, 0.15, count).clip(0.6, 1.5)
    return {
        "moment": moment,
        "x": x,
        "z": z,
        "vx": speed * np.cos(way),
        "vz": speed * np.sin(way),
        "turn": np.zeros(count),
        "yaw": anywhere,
        "phase": rng.uniform(0, 2 * np.pi, count),
    }


def _dwell(ground: Ground, ways: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """[K] seconds for which each way lies before the camera, to a quarter of a second, a minute at most."""
    passed = np.arange(-30, 30, 0.25)[:, None]
    x, z = ways["x"] + ways["vx"] * passed, ways["z"] + ways["vz"] * passed
    inside = (z > ground.near) & (z < ground.far) & (np.abs(x) < 0.5 * ground.width * z / ground.focal)
    return np.asarray(0.25 * inside.sum(axis=0))
