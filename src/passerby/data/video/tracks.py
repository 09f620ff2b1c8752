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
    numbers: list[list[int | None]] = []
    for xyxy, score in zip(boxes, scores, strict=True):
        rows = np.arange(len(score))
        # Trackers leave boxes out and change their order: each carries its row along.
        given = detections(
            xyxy=np.asarray(xyxy, np.float32).reshape(-1, 4), confidence=np.asarray(score), data={"row": rows}
        )
        found = tracking.update(given)
        own: list[int | None] = [None] * len(rows)
        for row, track in zip(
            found.data.get("row", []), found.tracker_id if found.tracker_id is not None else [], strict=False
        ):
            own[int(row)] = int(track) if track is not None and track >= 0 else None
        numbers.append(own)
    return numbers
