"""Embedders that come as ONNX graphs, on tiny graphs made here."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from PIL import Image
from torch import Tensor

from passerby.data.images import Preprocessing
from passerby.errors import PasserbyError
from passerby.models.load import load
from passerby.models.onnx import OnnxCard, OnnxEmbedder

Shape = Sequence[int | str]


def graph(
    path: Path,
    shape: Shape = ("n", 3, 8, 4),
    operators: Sequence[str] = ("GlobalAveragePool", "Flatten"),
    extra_inputs: int = 0,
    element: int = TensorProto.FLOAT,
) -> Path:
    """Writes a graph that chains `operators` and returns its path."""
    inputs = [helper.make_tensor_value_info("images", element, shape)]
    inputs += [helper.make_tensor_value_info(f"extra{k}", TensorProto.FLOAT, [1]) for k in range(extra_inputs)]
    nodes = [
        helper.make_node(
            operator, ["images" if k == 0 else f"x{k}"], ["out" if k == len(operators) - 1 else f"x{k + 1}"]
        )
        for k, operator in enumerate(operators)
    ]
    output = helper.make_tensor_value_info("out", element, None)
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, [output]), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    onnx.save(model, path)
    return path


def card(path: Path, **values: Any) -> None:
    path.with_suffix(".json").write_text(json.dumps(values))


def pixels(count: int = 5) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, 8, 4), dtype=np.uint8))


def means(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """What the graph puts out: the mean of each channel of the network's input."""
    return preprocessing.normalise(images).mean((2, 3))


def test_size_is_the_graphs_and_the_rest_imagenets(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(graph(tmp_path / "m.onnx"))
    assert embedder.preprocessing == Preprocessing(height=8, width=4)
    assert embedder.device == torch.device("cpu")
    torch.testing.assert_close(embedder.embed_batch(pixels()), means(pixels(), embedder.preprocessing))


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_a_graph_of_a_fixed_batch_is_fed_in_portions(tmp_path: Path, batch: int) -> None:
    embedder = OnnxEmbedder(graph(tmp_path / "m.onnx", (batch, 3, 8, 4)))
    torch.testing.assert_close(embedder.embed_batch(pixels()), means(pixels(), embedder.preprocessing))


@pytest.mark.parametrize("batch", [2, "n"])
def test_embed_normalises_rows_and_takes_no_images(tmp_path: Path, batch: int | str) -> None:
    embedder = load(graph(tmp_path / "m.onnx", (batch, 3, 8, 4)))
    images = [np.random.default_rng(k).integers(0, 256, (30, 20, 3), dtype=np.uint8) for k in range(3)]
    resized = torch.tensor(embedder.preprocessing.resize(Image.fromarray(images[0]))).permute(2, 0, 1)[None]
    rows = embedder.embed(images)
    torch.testing.assert_close(rows[:1], F.normalize(means(resized, embedder.preprocessing)))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    assert embedder.embed([]).shape == (0, 3)


def test_pooled_maps_count_as_rows(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(graph(tmp_path / "m.onnx", operators=["GlobalAveragePool"]))
    assert embedder.embed_batch(pixels()).shape == (5, 3)


def test_the_card_beside_it_says_otherwise(tmp_path: Path) -> None:
    path = graph(tmp_path / "m.onnx")
    card(path, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4], bgr=True)
    embedder = OnnxEmbedder(path)
    assert embedder.preprocessing == Preprocessing(
        height=8, width=4, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), bgr=True
    )
    channel = pixels().double().div(255).mean((2, 3))
    expected = torch.stack([(channel[:, 2] - 0.3) / 0.4, (channel[:, 1] - 0.4) / 0.3, (channel[:, 0] - 0.5) / 0.2], 1)
    torch.testing.assert_close(embedder.embed_batch(pixels()).double(), expected, atol=1e-5, rtol=1e-4)


def test_a_card_given_comes_before_the_card_beside_it(tmp_path: Path) -> None:
    path = graph(tmp_path / "m.onnx")
    card(path, bgr=True)
    assert not OnnxEmbedder(path, OnnxCard()).preprocessing.bgr


def test_a_graph_of_any_size_needs_a_card(tmp_path: Path) -> None:
    path = graph(tmp_path / "m.onnx", ("n", 3, "h", "w"))
    with pytest.raises(PasserbyError, match=r"takes any image size; say which in m\.json"):
        OnnxEmbedder(path)
    card(path, height=8)
    with pytest.raises(PasserbyError, match="takes any image size"):
        OnnxEmbedder(path)
    card(path, height=8, width=4)
    embedder = OnnxEmbedder(path)
    torch.testing.assert_close(embedder.embed_batch(pixels()), means(pixels(), embedder.preprocessing))


def test_a_card_that_contradicts_the_graph_is_named(tmp_path: Path) -> None:
    path = graph(tmp_path / "m.onnx")
    card(path, height=16, width=4)
    with pytest.raises(PasserbyError, match=r"takes 8 x 4 images, m\.json says 16 x 4"):
        OnnxEmbedder(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra_inputs": 1}, r"one float32 input \[N, 3, H, W\].*extra0"),
        ({"shape": ("n", 1, 8, 4)}, "one float32 input"),
        ({"shape": ("n", 3, 8), "operators": ["Flatten"]}, "one float32 input"),
        ({"element": TensorProto.DOUBLE, "operators": ["Flatten"]}, r"one float32 input.*tensor\(double\)"),
    ],
)
def test_graphs_that_are_no_embedders_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PasserbyError, match=message):
        OnnxEmbedder(graph(tmp_path / "m.onnx", **options))


def test_an_output_that_is_no_row_an_image_is_named(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(graph(tmp_path / "m.onnx", operators=["Relu"]))
    with pytest.raises(PasserbyError, match=r"first output has the shape \[.*an embedder puts out \[N, D\]"):
        embedder.embed_batch(pixels())


def test_files_that_are_no_graph_are_named(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(PasserbyError, match=r"m\.onnx: onnxruntime cannot open it") as error:
        OnnxEmbedder(tmp_path / "m.onnx")
    assert "\n" not in str(error.value)
    with pytest.raises(PasserbyError, match="no such file"):
        OnnxEmbedder(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"rgb": true}', "rgb: .*known keys: height, width, mean, std, bgr"),
        (b'{"std": [1, 0, 1]}', "std: 1: "),
        (b'{"height": 0}', "height: "),
        (b"{", r"m\.json: invalid json"),
        (b"\xff\xfe", r"m\.json: "),
    ],
)
def test_cards_that_make_no_sense_are_named(tmp_path: Path, text: bytes, message: str) -> None:
    path = graph(tmp_path / "m.onnx")
    path.with_suffix(".json").write_bytes(text)
    with pytest.raises(PasserbyError, match=message) as error:
        OnnxEmbedder(path)
    assert "\n" not in str(error.value)


def test_a_real_embedder_opens(data_root: Path) -> None:
    path = data_root / "weights" / "osnet_x0_25_msmt17.onnx"
    if not path.is_file():
        pytest.skip(f"no {path}")
    embedder = OnnxEmbedder(path)
    assert (embedder.preprocessing.height, embedder.preprocessing.width) == (256, 128)
    assert embedder.embed(np.zeros((3, 256, 128, 3), np.uint8)).shape == (3, 512)
