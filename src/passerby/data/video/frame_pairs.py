"""Which frames of which shots are seen together: super frames, a function of (seed, epoch) alone."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from passerby.errors import PasserbyError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


_SHARE = 0x5A
_ROUNDING = 1e-6
"""Seconds by which times that are sums may miss delta_max."""


class FramePairSettings(BaseModel):
    """How frames are drawn from film (Dou et al., "ISR", ICCV 2023, section 4.1); the defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(4.0, gt=0)
    """delta_max: the most time between any two frames that are seen together."""
    frames: int = Field(3, ge=2)
    """Frames of a shot that are seen together; two by two they are frame pairs."""
    crops: int = Field(80, gt=1)
    """Most crops of each of the `frames` sides of a super frame; of a frame with more people the largest count."""
    visits: int = Field(16, gt=0)
    """How often each shot is seen in an epoch."""
    share: float = Field(1.0, gt=0, le=1)
    """Share of the shots that are drawn from, chosen by the seed (the paper's Fig. 4: how much film it takes)."""
    pool: int = Field(64, gt=0)
    """Shots, or up to twice as many, that take turns before others do: the more, the more varied a super frame; the fewer, the
    less is read."""
    memory: int = Field(512, gt=0)
    """MiB of decoded crops that each process keeps."""


@dataclass(frozen=True)
class ShotFrames:
    """Frames of one shot.

    Attributes:
        times: [F] seconds, ascending.
        crops: [F] people in each frame.
    """

    times: Sequence[float] | Floats
    crops: Sequence[int] | Ints


@dataclass(frozen=True)
class Visit:
    """One shot as part of a super frame.

    Attributes:
        shot: position among the shots that the plan was made of.
        frames: positions of the drawn frames in the shot, one of each side; sides beyond them show nothing.
    """

    shot: int
    frames: tuple[int, ...]


class FramePlan:
    """Super frames over shots, epoch by epoch.

    In an epoch each shot is visited `visits` times; a visit draws frames at most `seconds` apart. Visits are packed in their
    order: a super frame ends before one of its sides has more than `crops` crops, and no shot is in it twice.
    Groups of `pool` shots take turns, so that what was read and decoded is used again soon.

    Attributes:
        shots: positions of the shots that frames can be drawn from.
        crowded: frames with more people than a super frame takes.
    """

    def __init__(self, shots: Sequence[ShotFrames], settings: FramePairSettings, seed: int, processes: int = 1) -> None:
        """Plans for `processes` that each train on super frames of their own.

        Args:
            shots: all shots of the film; those without two frames close enough in time are left out.
            settings: how frames are drawn.
            seed: fixes every epoch.
            processes: how many share the super frames of an epoch; at most `processes` - 1 of them are dropped.

        Raises:
            PasserbyError: when no shot can be drawn from, or an epoch has fewer super frames than processes.
        """
        self.settings, self.seed, self.processes = settings, seed, processes
        columns = [_drawable(shot, settings) for shot in shots]
        self.shots = tuple(number for number, (times, _, _) in enumerate(columns) if len(times))
        if not self.shots:
            closest = min((gap for shot in shots for gap in np.diff(shot.times)), default=None)
            found = "none has two frames" if closest is None else f"the closest two lie {closest:.3g} s apart"
            raise PasserbyError(
                f"data.shards: of {len(shots)} shots none has two frames at most {settings.seconds:g} s apart "
                f"({found}); set data.film.seconds, or take more frames a second (passerby ingest --every)"
            )
        if settings.share < 1:
            order = np.random.default_rng([seed, _SHARE]).permutation(self.shots)
            self.shots = tuple(sorted(order[: max(1, round(settings.share * len(order)))].tolist()))
        kept = [columns[number] for number in self.shots]
        self._count = np.array([len(times) for times, _, _ in kept])
        self._start = np.cumsum(self._count) - self._count
        self._place = np.concatenate([place for _, _, place in kept])
        people = np.concatenate([crops for _, crops, _ in kept])
        self.crowded = int((people > settings.crops).sum())
        self._people = np.minimum(people, settings.crops)
        # Times of all shots in one ascending row, far enough apart that no search crosses from a shot into the next.
        longest = max(float(times[-1] - times[0]) for times, _, _ in kept)
        self._window = min(settings.seconds, longest) + _ROUNDING
        self._row = np.concatenate(
            [times - times[0] + n * (longest + 2 * self._window + 1) for n, (times, _, _) in enumerate(kept)]
        )
        self._packed = lru_cache(maxsize=2)(self._pack)
        if not self.steps(0):
            raise PasserbyError(
                f"data.shards: {len(self.shots)} shots make {len(self._packed(0)[2])} super frames an epoch, too few for "
                f"{processes} processes; lower trainer.devices or data.film.crops, or add film"
            )

    def steps(self, epoch: int) -> int:
        """Steps of an epoch: each process trains on one super frame a step."""
        return len(self._packed(epoch)[2]) // self.processes

    def crops(self, epoch: int) -> Ints:
        """Crops of each step of an epoch, all processes together: [steps]."""
        _, frames, starts = self._packed(epoch)
        people = np.where(frames < 0, 0, self._people[frames]).sum(1)
        every = np.add.reduceat(people, starts)[: self.steps(epoch) * self.processes]
        total: Ints = every.reshape(-1, self.processes).sum(1)
        return total

    def super_frame(self, epoch: int, step: int, process: int = 0) -> list[Visit]:
        """The visits of one super frame.

        Args:
            epoch: of the plan.
            step: within the epoch.
            process: whose super frame of that step.
        """
        shots, frames, starts = self._packed(epoch)
        number = step * self.processes + process
        end = starts[number + 1] if number + 1 < len(starts) else len(shots)
        visits = []
        for row in range(starts[number], end):
            drawn = tuple(int(self._place[frame]) for frame in frames[row] if frame >= 0)
            visits.append(Visit(self.shots[shots[row]], drawn))
        return visits

    def _pack(self, epoch: int) -> tuple[Ints, Ints, Ints]:
        """Shot and frames of every visit of an epoch, [V] and [V, frames], and the first visit of each super frame."""
        rng = np.random.default_rng([self.seed, epoch])
        shots = self._order(rng)
        frames = self._draw(shots, rng)
        people = np.where(frames < 0, 0, self._people[frames])
        rows, starts = _packed_rows(shots.tolist(), people.tolist(), self.settings.crops)
        return shots[rows], frames[rows], starts

    def _order(self, rng: np.random.Generator) -> Ints:
        """Shots in the order of their visits: within a group round after round, each a permutation."""
        shuffled = rng.permutation(len(self.shots))
        groups = np.array_split(shuffled, max(1, len(shuffled) // self.settings.pool))
        rounds = [rng.permutation(group) for group in groups for _ in range(self.settings.visits)]
        return np.concatenate(rounds)

    def _draw(self, shots: Ints, rng: np.random.Generator) -> Ints:
        """Frames of each visit, [V, frames], as positions in `_row`; -1 where no further frame is close enough to all others."""
        drawn = np.empty((len(shots), self.settings.frames), np.int64)
        drawn[:, 0] = self._start[shots] + (rng.random(len(shots)) * self._count[shots]).astype(np.int64)
        for side in range(1, self.settings.frames):
            earlier = np.sort(drawn[:, :side], axis=1)
            first = np.where(earlier < 0, drawn[:, :1], earlier)
            low = np.searchsorted(self._row, self._row[first.max(1)] - self._window, "left")
            high = np.searchsorted(self._row, self._row[first.min(1)] + self._window, "right")
            free = high - low - (earlier >= 0).sum(1)
            frame = low + (rng.random(len(shots)) * free).astype(np.int64)
            for column in range(side):  # steps over those that are drawn already, in ascending order
                frame += (earlier[:, column] >= 0) & (frame >= earlier[:, column])
            drawn[:, side] = np.where(free > 0, frame, -1)
        return drawn


def _drawable(shot: ShotFrames, settings: FramePairSettings) -> tuple[Floats, Ints, Ints]:
    """Times, people and positions of the frames that have another one close enough."""
    times, people = np.asarray(shot.times, np.float64), np.asarray(shot.crops, np.int64)
    place = np.flatnonzero(people > 0)
    near = np.diff(times[place]) <= settings.seconds + _ROUNDING
    place = place[np.append(near, False) | np.insert(near, 0, False)] if len(place) else place
    return times[place], people[place], place


def _packed_rows(shots: list[int], people: list[list[int]], most: int) -> tuple[Ints, Ints]:
    """Visits in the order of the super frames that they are packed into, and the place of the first one of each.

    A visit to a shot that stands in the super frame already is put off to the next; when as many are put off as the super
    frame holds, it is closed: there are few shots, and they have all come.

    Args:
        shots: [V] of each visit.
        people: [V][frames] of each visit.
        most: people on a side.
    """
    rows: list[int] = []
    starts: list[int] = []
    waiting: deque[int] = deque()
    coming = deque(range(len(shots)))
    while waiting or coming:
        starts.append(len(rows))
        taken: set[int] = set()
        sides = [0] * len(people[0])
        put_off: list[int] = []
        while (waiting or coming) and len(put_off) <= len(taken):
            row = (waiting or coming).popleft()
            if shots[row] in taken:
                put_off.append(row)
                continue
            filled = [side + count for side, count in zip(sides, people[row], strict=True)]
            if taken and max(filled) > most:
                put_off.append(row)
                break
            taken.add(shots[row])
            sides = filled
            rows.append(row)
        waiting.extendleft(reversed(put_off))
    return np.array(rows), np.array(starts)
