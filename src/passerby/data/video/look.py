"""One frame on its way to crops: who is in it, and their pictures."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from passerby.data.images import Pixels
from passerby.data.video.boxes import Boxes, name_by_truth
from passerby.data.video.detector import Detector
from passerby.data.video.frames import Frame
from passerby.data.video.settings import IngestSettings
from passerby.data.video.stretch import Instant, Person

Look = Callable[[Frame], Instant]
"""Looks at one frame; several threads may do so at once."""

_NARROWEST = 8


def looker(settings: IngestSettings, detector: Detector | None, known: dict[int, Boxes]) -> Look:
    """A way to look at frames.

    Args:
        settings: decide which people are kept.
        detector: finds people; None where boxes are known.
        known: boxes of frames, where people drew them; beside a detector they only say who is who.
    """
    nobody = Boxes(np.empty((0, 4), np.float32), np.empty(0, np.float32))
    with_truth = any(boxes.identity is not None for boxes in known.values())

    def look(frame: Frame) -> Instant:
        image = frame.image()
        given = known.get(frame.position.number, nobody)
        if detector is None:
            boxes = given
        else:
            boxes = detector.detect(image)
            if with_truth:
                boxes = name_by_truth(boxes, given)
        boxes, crowded = choose(boxes.within(*image.shape[:2]), settings)
        people = tuple(_person(image, boxes, row, settings.quality) for row in range(len(boxes)))
        return Instant(frame.position.number, frame.position.time, people, crowded)

    return look


def choose(boxes: Boxes, settings: IngestSettings) -> tuple[Boxes, bool]:
    """The people who are kept, from left to right, and whether there were more than are kept.

    Args:
        boxes: of a frame, within it.
        settings: least height and score, and most people.
    """
    width, height = (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]).T
    large = (height >= settings.min_height) & (width >= _NARROWEST)
    boxes = boxes.take(large & (boxes.score >= settings.score))
    crowded = len(boxes) > settings.max_people
    if crowded:
        boxes = boxes.take(np.argsort(-boxes.score, kind="stable")[: settings.max_people])
    return boxes.take(np.lexsort((boxes.xyxy[:, 1], boxes.xyxy[:, 0]))), crowded


def _person(image: Pixels, boxes: Boxes, row: int, quality: int) -> Person:
    left, top, right, bottom = (int(edge) for edge in boxes.xyxy[row])
    stream = BytesIO()
    Image.fromarray(image[top:bottom, left:right]).save(stream, "JPEG", quality=quality)
    identity = None if boxes.identity is None or boxes.identity[row] < 0 else int(boxes.identity[row])
    box = float(left), float(top), float(right), float(bottom)
    return Person(stream.getvalue(), box, float(boxes.score[row]), identity)
