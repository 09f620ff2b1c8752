"""Where one shot ends and the next one begins (PySceneDetect)."""

from functools import partial
from typing import Any

from passerby.data.images import Pixels
from passerby.extras import import_extra

THRESHOLD = 27.0
"""PySceneDetect's own: mean change of hue, saturation and value from one frame to the next, of 255."""

WIDTH = 256
"""Columns of the pictures that are compared; PySceneDetect makes them about as small."""


class CutDetector:
    """PySceneDetect's content detector, frame by frame.

    It has no shortest shot: what a flash or a quick cut leaves is dropped later, for being short. So it remembers one frame
    alone, and a film can be taken up at the first frame of any shot.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        """Starts before the first frame."""
        detectors: Any = import_extra("scenedetect.detectors", "video")
        self._timecode: Any = import_extra("scenedetect", "video").FrameTimecode
        self._fresh = partial(detectors.ContentDetector, threshold=threshold, min_scene_len=0)
        self._detector, self._count = self._fresh(), 0
        self._shape: tuple[int, ...] | None = None

    def is_cut(self, small: Pixels) -> bool:
        """Whether a new shot begins with this frame; never with the first one. A picture of another size begins one.

        Args:
            small: uint8 [h, w, 3], blue, green, red.
        """
        before, self._shape = self._shape, small.shape
        if before not in (None, small.shape):
            self._detector, self._count = self._fresh(), 1
            self._detector.process_frame(self._timecode(0, fps=25.0), small)
            return True
        cuts = self._detector.process_frame(self._timecode(self._count, fps=25.0), small)
        self._count += 1
        return bool(cuts)
