"""Detectors: YOLOX's letterbox and grid against the plain formula, SSDlite's interface, clear refusals."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from passerby.data.video.detector import load_detector
from passerby.data.video.ssdlite import SsdLite, downloaded_ssdlite
from passerby.data.video.yolox import Yolox
from passerby.errors import PasserbyError

HEIGHT, WIDTH = 64, 96
CELLS = [(s, x, y) for s in (8, 16, 32) for y in range(HEIGHT // s) for x in range(WIDTH // s)]


def graph(path: Path, output: np.ndarray, shape: tuple[object, ...] = (1, 3, HEIGHT, WIDTH)) -> Path:
    """An .onnx file that finds `output` in every picture."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["found", "zero"], ["output"]),
    ]
    constants = [numpy_helper.from_array(np.float32(0), "nothing"), numpy_helper.from_array(output[None], "found")]
    made = helper.make_graph(
        nodes,
        "yolox",
        [value("images", TensorProto.FLOAT, shape)],
        [value("output", TensorProto.FLOAT, (1, *output.shape))],
        constants,
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def anchors(decoded: bool) -> np.ndarray:
    """Two people, each twice, and a car that say they are there; all other anchors are unsure."""
    found = np.zeros((len(CELLS), 7), np.float32)
    found[:, 2:4] = -1.0
    if decoded:
        found[:, 2:4] = 5.0
    for (stride, x, y), (cx, cy, w, h), score, car in (
        ((8, 3, 4), (27.2, 36.0, 10.0, 20.0), 0.9, 0.0),
        ((16, 4, 1), (70.4, 27.2, 16.0, 40.0), 0.5, 0.1),
        ((32, 1, 1), (48.0, 48.0, 30.0, 12.0), 0.1, 0.9),
        ((8, 3, 5), (27.0, 36.5, 10.0, 21.0), 0.7, 0.0),  # the first person again
        ((16, 4, 2), (70.4, 37.2, 16.0, 40.0), 0.4, 0.0),  # the second, three fifths of the union shared
    ):
        row = found[CELLS.index((stride, x, y))]
        row[:] = (cx, cy, w, h, 0.92, score / 0.92, car)
        if not decoded:
            row[:4] = (cx / stride - x, cy / stride - y, np.log(w / stride), np.log(h / stride))
    return found


@pytest.mark.parametrize("decoded", [False, True])
def test_boxes_are_where_the_grid_says(tmp_path: Path, decoded: bool) -> None:
    detector = Yolox(graph(tmp_path / "y.onnx", anchors(decoded)), score=0.3)
    # A frame of 192 x 96 is halved to fit into 96 x 64.
    boxes = detector.detect(np.zeros((96, 192, 3), np.uint8))
    assert boxes.score.tolist() == pytest.approx([0.9, 0.5])
    expected = [[44.4, 52, 64.4, 92], [124.8, 14.4, 156.8, 94.4]]
    assert boxes.xyxy == pytest.approx(np.array(expected), abs=1e-3)
    assert len(Yolox(tmp_path / "y.onnx", score=0.6).detect(np.zeros((96, 192, 3), np.uint8))) == 1
    assert len(Yolox(tmp_path / "y.onnx", score=0.95).detect(np.zeros((96, 192, 3), np.uint8))) == 0


def test_the_picture_stands_in_the_upper_left_on_grey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Yolox(graph(tmp_path / "y.onnx", anchors(False)), score=0.3)
    seen: list[np.ndarray] = []
    monkeypatch.setattr(detector._session, "run", lambda _, feed: seen.append(feed["images"]) or [anchors(False)[None]])
    detector.detect(np.full((96, 192, 3), (10, 20, 30), np.uint8))
    (planes,) = seen
    assert planes.shape == (1, 3, HEIGHT, WIDTH)
    assert planes[0, :, :48, :96].reshape(3, -1).T.tolist() == [[30, 20, 10]] * (48 * 96)  # blue, green, red
    assert (planes[0, :, 48:] == 114).all()
    detector.detect(np.full((128, 96, 3), (10, 20, 30), np.uint8))  # a tall one
    assert (seen[1][0, 0, :, :48] == 30).all()
    assert (seen[1][0, :, :, 48:] == 114).all()


def test_what_is_no_detector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PasserbyError, match=r"nowhere\.onnx: no such file"):
        load_detector(tmp_path / "nowhere.onnx", 0.4)
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(PasserbyError, match=r"text\.onnx: onnxruntime cannot open it"):
        Yolox(tmp_path / "text.onnx", 0.4)
    with pytest.raises(PasserbyError, match=r"its input is \['n', 3, 64, 96\]|its output"):
        Yolox(graph(tmp_path / "other.onnx", np.zeros((10, 7), np.float32)), 0.4)
    with pytest.raises(PasserbyError, match="a YOLOX graph has"):
        Yolox(graph(tmp_path / "grey.onnx", anchors(False), (1, 1, HEIGHT, WIDTH)), 0.4)


class Finder(nn.Module):
    """Says what it was given, in torchvision's way."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        assert len(images) == 1
        assert images[0].shape == (3, 30, 40)
        assert float(images[0].max()) == pytest.approx(1)
        boxes = torch.arange(12.0).reshape(3, 4)
        return [{"boxes": boxes, "labels": torch.tensor([1, 3, 1]), "scores": torch.tensor([0.9, 0.9, 0.2])}]


def test_ssdlite_keeps_sure_people() -> None:
    boxes = SsdLite(Finder(), 0.4).detect(np.full((30, 40, 3), 255, np.uint8))
    assert boxes.xyxy.tolist() == [[0, 1, 2, 3]]
    assert boxes.score.tolist() == pytest.approx([0.9])


def test_ssdlite_is_torchvisions() -> None:
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    boxes = SsdLite(network, 0.0).detect(np.zeros((60, 80, 3), np.uint8))
    assert boxes.xyxy.shape == (len(boxes), 4)


def test_weights_that_cannot_be_had_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(PasserbyError, match=r"weights cannot be downloaded .*give --detector FILE"):
        downloaded_ssdlite()


def test_a_real_detector_finds_real_people(data_root: Path) -> None:
    from passerby.data.video.frames import FilmReader

    detector, film = data_root / "detectors" / "yolox_nano.onnx", data_root / "videos" / "vtest.avi"
    if not (detector.exists() and film.exists()):
        pytest.skip("needs a YOLOX file and film under the data root")
    frame = next(iter(FilmReader(film).frames()))
    boxes = Yolox(detector, 0.4).detect(frame.image())
    assert 4 <= len(boxes) <= 9
    height = boxes.xyxy[:, 3] - boxes.xyxy[:, 1]
    width = boxes.xyxy[:, 2] - boxes.xyxy[:, 0]
    assert np.median(height / width) > 1.8
