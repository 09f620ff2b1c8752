"""Who is who in two frames: an exact assignment of the crops of one to the crops of the other."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from passerby.errors import PasserbyError


@dataclass(frozen=True)
class MinedPairs:
    """Positive pairs among N crops.

    Attributes:
        anchor: int64 [K], x_i: crops of the frame that shows fewer people (of the one drawn first where both show as many).
        positive: int64 [K], y_j: the crop of the other frame that each anchor is matched with.
    """

    anchor: Tensor
    positive: Tensor


@torch.no_grad()
def mine_pairs(features: Tensor, video: Tensor, frame: Tensor) -> MinedPairs:
    """Matches the crops of every two frames of every video (Dou et al., "ISR", ICCV 2023, eq. 1).

    Each crop of the frame with fewer people gets one of the other frame, none twice, so that the sum of cosines is the
    largest: the paper swaps the two frames where the first shows more people.

    Args:
        features: float [N, D], rows of length 1.
        video: int64 [N], whose video a crop is of; pairs lie within one.
        frame: int64 [N], which of its video's frames.

    Returns:
        pairs on the device of `features`; none where no video has two frames.

    Raises:
        PasserbyError: when a feature is not finite.
    """
    with torch.autocast(features.device.type, enabled=False):
        cosine = (features.float() @ features.float().T).cpu().numpy()
    if not np.isfinite(cosine).all():
        raise PasserbyError("training: the features of crops are not finite; lower optimizer.lr, or train in 32-true")
    anchors, positives = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for frames in _frames(video.cpu().numpy(), frame.cpu().numpy()):
        for first, second in combinations(frames, 2):
            few, many = (first, second) if len(first) <= len(second) else (second, first)
            row, column = linear_sum_assignment(cosine[np.ix_(few, many)], maximize=True)
            anchors.append(few[row])
            positives.append(many[column])
    anchor, positive = (
        torch.from_numpy(np.concatenate(side)).to(features.device, non_blocking=True) for side in (anchors, positives)
    )
    return MinedPairs(anchor, positive)


def _frames(video: NDArray[np.int64], frame: NDArray[np.int64]) -> list[list[NDArray[np.int64]]]:
    """Of each video, of each of its frames in order: the rows of the crops."""
    order = np.lexsort((frame, video))
    starts = np.flatnonzero(np.diff(video[order]) | np.diff(frame[order])) + 1
    videos: dict[int, list[NDArray[np.int64]]] = {}
    for rows in np.split(order, starts):
        if len(rows):
            videos.setdefault(int(video[rows[0]]), []).append(rows)
    return list(videos.values())
