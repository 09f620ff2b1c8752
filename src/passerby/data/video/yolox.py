"""People by a YOLOX-style ONNX file (Ge et al., "YOLOX: exceeding YOLO series in 2021"; ByteTrack's detectors too)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.ops import nms

from passerby.data.images import Pixels
from passerby.data.video.boxes import Boxes, Floats
from passerby.errors import PasserbyError
from passerby.extras import import_extra

_GREY = 114
_OVERLAP = 0.45
"""Of two boxes that overlap more, the better one stays (YOLOX's demo)."""


class Yolox:
    """A graph with one input [1, 3, H, W] and one output [1, A, 5 + classes], run on the CPU.

    The frame is scaled to fit into the input's upper left corner, the rest is grey; pixels are blue, green, red in 0..255.
    The output is box, objectness and classes for every anchor; class 0 is a person. Boxes may be offsets to the grid (YOLOX's
    own export) or pixels (with `--decode_in_inference`): which of the two is seen from a grey picture.
    """

    def __init__(self, path: Path, score: float) -> None:
        """Opens the graph.

        Args:
            path: the .onnx file.
            score: boxes with a lower one (objectness times class) are left out.

        Raises:
            PasserbyError: when there is no such file, or it is no such graph.
        """
        import onnxruntime

        if not path.is_file():
            raise PasserbyError(f"--detector {path}: no such file; a YOLOX .onnx file is wanted")
        self._cv2: Any = import_extra("cv2", "video")
        options = onnxruntime.SessionOptions()
        # One thread a frame: several frames are looked at side by side, and the result does not depend on their number.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises exception types of its own
            raise PasserbyError(
                f"--detector {path}: onnxruntime cannot open it ({str(error).splitlines()[0]})"
            ) from error
        shape = self._session.get_inputs()[0].shape
        if len(shape) != 4 or shape[1] != 3 or not all(isinstance(n, int) for n in shape[2:]):
            raise PasserbyError(f"--detector {path}: its input is {shape}; a YOLOX graph has [1, 3, height, width]")
        self._name: str = self._session.get_inputs()[0].name
        self._height, self._width = int(shape[2]), int(shape[3])
        self._score = score
        try:
            output = self._run(np.full((self._height, self._width, 3), _GREY, np.uint8))
        except Exception as error:
            raise PasserbyError(f"--detector {path}: it does not run ({str(error).splitlines()[0]})") from error
        self._grid, self._stride = _anchors(self._height, self._width, output.shape[0] if output.ndim == 2 else -1)
        if output.ndim != 2 or output.shape[1] < 6 or self._grid.size == 0:
            raise PasserbyError(
                f"--detector {path}: its output is {list(output.shape)}; a YOLOX graph of this input has one row of box, "
                "objectness and classes for every cell of strides 8, 16 and 32"
            )
        # Logarithms of widths and heights are of either sign; widths and heights are not.
        self._decoded = bool((output[:, 2:4] > 0).all())

    def detect(self, image: Pixels) -> Boxes:
        """People in a frame: see `Detector`."""
        ratio = min(self._height / image.shape[0], self._width / image.shape[1])
        size = max(1, int(image.shape[1] * ratio)), max(1, int(image.shape[0] * ratio))
        padded = np.full((self._height, self._width, 3), _GREY, np.uint8)
        padded[: size[1], : size[0]] = self._cv2.resize(image, size, interpolation=self._cv2.INTER_LINEAR)
        output = self._run(padded)
        score = output[:, 4] * output[:, 5]
        rows = np.flatnonzero(score >= self._score)
        centre, extent = output[rows, :2], output[rows, 2:4]
        if not self._decoded:
            centre = (centre + self._grid[rows]) * self._stride[rows]
            extent = np.exp(extent) * self._stride[rows]
        boxes = np.hstack([centre - extent / 2, centre + extent / 2]) / np.float32(ratio)
        kept = nms(torch.from_numpy(boxes), torch.from_numpy(score[rows]), _OVERLAP).numpy()
        return Boxes(boxes[kept], score[rows][kept])

    def _run(self, padded: Pixels) -> Floats:
        """[A, 5 + classes] of a picture of the input's size, red first."""
        planes = np.ascontiguousarray(padded[..., ::-1].transpose(2, 0, 1), np.float32)
        output: Floats = self._session.run(None, {self._name: planes[None]})[0][0]
        return output


def _anchors(height: int, width: int, count: int) -> tuple[Floats, Floats]:
    """[A, 2] cells and [A, 1] strides of a graph with `count` anchors; empty where it cannot have so many."""
    for strides in ((8, 16, 32), (8, 16, 32, 64)):
        grids, steps = [], []
        for stride in strides:
            y, x = np.mgrid[: height // stride, : width // stride]
            grids.append(np.stack([x.ravel(), y.ravel()], axis=1))
            steps.append(np.full((x.size, 1), stride))
        grid = np.concatenate(grids).astype(np.float32)
        if len(grid) == count:
            return grid, np.concatenate(steps).astype(np.float32)
    return np.empty((0, 2), np.float32), np.empty((0, 1), np.float32)
