"""Who finds people in a frame: any YOLOX-style ONNX file, or torchvision's SSDlite where there is none."""

from functools import lru_cache
from pathlib import Path
from typing import Protocol

from passerby.data.images import Pixels
from passerby.data.video.boxes import Boxes


class Detector(Protocol):
    """Finds people. Several threads may ask at once, and each gets what it would get alone."""

    def detect(self, image: Pixels) -> Boxes:
        """People in a frame.

        Args:
            image: uint8 [H, W, 3], RGB.
        """
        ...


@lru_cache(maxsize=2)
def load_detector(path: Path | None, score: float) -> Detector:
    """The detector of a file; without one torchvision's SSDlite, of which the weights are downloaded once.

    Args:
        path: a YOLOX-style .onnx file, or None.
        score: boxes below it are left out.

    Raises:
        PasserbyError: when there is no such file, it is no such detector, or the weights cannot be downloaded.
    """
    if path is not None:
        from passerby.data.video.yolox import Yolox

        return Yolox(path, score)
    from passerby.data.video.ssdlite import SsdLite, downloaded_ssdlite

    return SsdLite(downloaded_ssdlite(), score)
