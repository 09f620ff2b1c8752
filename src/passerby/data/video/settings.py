"""What decides which crops a film leaves."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from passerby.data.video.cuts import THRESHOLD
from passerby.data.video.tracks import Tracker
from passerby.files import sha256


class IngestSettings(BaseModel):
    """The choices of `passerby ingest`; defaults are the paper's (Dou et al., ISR, ICCV 2023, section 4.1) where it says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: Path | None = None
    """A YOLOX-style .onnx file; None: torchvision's SSDlite."""
    every: int = Field(7, ge=1)
    """Every so manyth frame of a shot is looked at."""
    min_people: float = Field(5.0, ge=0)
    """A shot with fewer people in the mean of five of these frames is dropped."""
    max_people: int = Field(80, ge=1)
    """Of a frame with more people those of the best scores are kept."""
    score: float = Field(0.4, ge=0, le=1)
    """Least score of a detection."""
    min_height: int = Field(48, ge=8)
    """Least height of a box, pixels."""
    stretch: float = Field(60.0, gt=0)
    """Longest shot in seconds; longer ones are cut, so that a fixed camera too has several."""
    cut: float = Field(THRESHOLD, gt=0)
    """PySceneDetect's threshold."""
    fps: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Frames a second where the film does not say."""
    join: int = Field(1, ge=1)
    """Frames of ready-made crops that make one instant."""
    tracker: Tracker | None = None
    """Number people through a shot."""
    quality: int = Field(92, ge=1, le=100)
    """Of the JPEG files."""

    def digest(self) -> str:
        """Names these choices; a detector by its bytes, not by its path."""
        shown = self.model_dump(mode="json")
        if self.detector is not None:
            shown["detector"] = sha256(self.detector)
        return "; ".join(f"{name}={value}" for name, value in shown.items())
