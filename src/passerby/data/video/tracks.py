"""Tracklets within a shot, by the trackers library. Training does without them; they serve to look and to compare."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from passerby.data.video.boxes import Floats
from passerby.extras import import_extra

Tracker = Literal["sort", "bytetrack", "ocsort"]

_CLASSES = {"sort": "SORTTracker", "bytetrack": "ByteTrackTracker", "ocsort": "OCSORTTracker"}


def tracklets(tracker: Tracker, boxes: Sequence[Floats], scores: Sequence[Floats]) -> list[list[int | None]]:
    """Numbers the people of a shot through.

    Args:
        tracker: which one.
        boxes: [N, 4] of each frame that was looked at, in order.
        scores: [N] of each of these frames.

    Returns:
        for each frame the number of each box, or None where the tracker is not sure yet.
    """
    detections: Any = import_extra("supervision", "tracks").Detections
    tracking: Any = getattr(import_extra("trackers", "tracks"), _CLASSES[tracker])()
    names: dict[int, int] = {}  # trackers number through everything that a process ever tracked
    numbers: list[list[int | None]] = []
    for xyxy, score in zip(boxes, scores, strict=True):
        # Trackers leave boxes out and change their order: each carries its row along.
        rows = np.arange(len(score))
        given = np.asarray(xyxy, np.float32).reshape(-1, 4)
        found = tracking.update(detections(xyxy=given, confidence=np.asarray(score), data={"row": rows}))
        own: list[int | None] = [None] * len(rows)
        if len(found):
            for row, track in zip(found.data["row"].tolist(), found.tracker_id.tolist(), strict=True):
                if track >= 0:
                    own[row] = names.setdefault(track, len(names))
        numbers.append(own)
    return numbers
