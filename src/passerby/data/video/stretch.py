"""One shot on its way into the shards: what was seen in it, and whether it stays."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from passerby.data.video.crops import Crop, StoredCrop
from passerby.data.video.settings import IngestSettings
from passerby.data.video.tracks import tracklets

_LOOKED_AT = 5
"""Frames of a shot whose people are counted (ISR, section 4.1)."""


@dataclass(frozen=True)
class Person:
    """One person in one instant.

    Attributes:
        jpeg: the picture.
        box: left, top, right and bottom in the frame, or None.
        score: of the detector.
        identity: ground truth, or None.
        tracklet: number within the shot, or None.
    """

    jpeg: bytes
    box: tuple[float, float, float, float] | None = None
    score: float = 1.0
    identity: int | None = None
    tracklet: int | None = None


@dataclass(frozen=True)
class Instant:
    """What one frame shows.

    Attributes:
        frame: its number.
        time: seconds from the film's first frame.
        people: who is in it.
        crowded: it showed more people than are kept.
    """

    frame: int
    time: float
    people: tuple[Person, ...]
    crowded: bool = False


def finish_shot(
    film: str, shot: int, instants: Sequence[Instant], settings: IngestSettings, counts: Counter[str]
) -> list[StoredCrop]:
    """The crops that a shot leaves; none when it is dropped.

    Args:
        film: name of the film.
        shot: number of the shot.
        instants: its frames that were looked at, in order, those without people too.
        settings: decide what stays.
        counts: what happened is added to them.
    """
    counts["shots"] += 1
    counts["looked_at"] += len(instants)
    counts["detections"] += sum(len(i.people) for i in instants)
    counts["crowded_frames"] += sum(i.crowded for i in instants)
    shown = [i for i in instants if i.people]
    if len(shown) < 2:  # a pair takes two frames
        counts["short_shots" if len(instants) < 2 else "empty_shots"] += 1
        return []
    five = np.linspace(0, len(instants) - 1, _LOOKED_AT).round().astype(int)
    if np.mean([len(instants[i].people) for i in five]) < settings.min_people:
        counts["shots_of_few"] += 1
        return []
    if settings.tracker is not None and all(p.box is not None for i in shown for p in i.people):
        shown = _tracked(instants, settings)
    counts["kept_shots"] += 1
    crops = [
        StoredCrop(
            Crop(
                film=film,
                shot=shot,
                frame=instant.frame,
                index=index,
                time=instant.time,
                box=person.box,
                score=round(person.score, 4),
                tracklet=person.tracklet,
                identity=person.identity,
            ),
            person.jpeg,
        )
        for instant in shown
        for index, person in enumerate(instant.people)
    ]
    counts["crops"] += len(crops)
    return crops


def _tracked(instants: Sequence[Instant], settings: IngestSettings) -> list[Instant]:
    """The instants that show somebody, with tracklets."""
    assert settings.tracker is not None
    boxes = [np.array([p.box for p in i.people], np.float32).reshape(-1, 4) for i in instants]
    scores = [np.array([p.score for p in i.people], np.float32) for i in instants]
    numbers = tracklets(settings.tracker, boxes, scores)
    return [
        replace(i, people=tuple(replace(p, tracklet=n) for p, n in zip(i.people, own, strict=True)))
        for i, own in zip(instants, numbers, strict=True)
        if i.people
    ]
