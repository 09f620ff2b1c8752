"""Boxes of people in a frame."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Boxes:
    """Boxes of one frame, in pixels.

    Attributes:
        xyxy: [N, 4] left, top, right and bottom.
        score: [N] the detector's, 0 to 1.
        identity: [N] ground truth, or None where there is none; -1 for a box that is nobody's.
    """

    xyxy: Floats
    score: Floats
    identity: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: NDArray[Any]) -> Self:
        """The given rows (numbers or a mask), in that order."""
        who = None if self.identity is None else self.identity[rows]
        return type(self)(self.xyxy[rows], self.score[rows], who)

    def within(self, height: int, width: int) -> Self:
        """Cut at the edges of a frame and widened to whole pixels."""
        low, high = np.floor(self.xyxy[:, :2]), np.ceil(self.xyxy[:, 2:])
        edge = np.array([width, height], np.float32)
        return type(self)(np.hstack([low.clip(0, edge), high.clip(0, edge)]), self.score, self.identity)


def overlaps(first: Floats, second: Floats) -> Floats:
    """[N, M] intersection over union of boxes [N, 4] and [M, 4]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    areas = [(b[:, 2:] - b[:, :2]).clip(0).prod(axis=1) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-9))


def name_by_truth(found: Boxes, truth: Boxes, least: float = 0.5) -> Boxes:
    """Gives detections the identities of the true boxes that they overlap most, one to one.

    Args:
        found: detections.
        truth: true boxes with identities.
        least: intersection over union below which a detection is nobody's.
    """
    names = np.full(len(found), -1, np.int64)
    if truth.identity is not None and len(found) and len(truth):
        shared = overlaps(found.xyxy, truth.xyxy)
        rows, columns = linear_sum_assignment(-shared)
        good = shared[rows, columns] >= least
        names[rows[good]] = truth.identity[columns[good]]
    return Boxes(found.xyxy, found.score, names)
