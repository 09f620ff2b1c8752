"""The one inference path: everything that is an image becomes the same network input."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from passerby.data.augment import Augmentation, augment
from passerby.data.images import Preprocessing
from passerby.data.sample import Sample
from passerby.data.training_set import TrainingSet
from passerby.errors import PasserbyError
from passerby.models.embedder import Embedder
from passerby.models.model import Model


class Pixels(Embedder):
    """An embedder whose embedding is its input: what it was given can be read off."""

    def __init__(self, height: int = 4, width: int = 3) -> None:
        self.preprocessing = Preprocessing(height=height, width=width)
        self.batches: list[Tensor] = []

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def embed_batch(self, pixels: Tensor) -> Tensor:
        self.batches.append(pixels)
        return pixels.float().flatten(1) + 1


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def last_input(model: Model) -> Callable[[], Tensor]:
    """What the network was last given."""
    seen: list[Tensor] = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    return lambda: seen[-1]


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp", "L.jpg", "L.png", "RGBA.png", "P.png", "1.png", "CMYK.jpg"])
@pytest.mark.parametrize("size", [(50, 23), (32, 16)])
def test_one_image_is_one_network_input_whichever_way_it_comes(
    model: Model, tmp_path: Path, kind: str, size: tuple[int, int]
) -> None:
    path = tmp_path / f"a.{kind}"
    image = Image.fromarray(noise(*size, 3))
    image = image.convert(kind.split(".")[0]) if "." in kind else image
    image.save(path)
    training_set = TrainingSet([("d", [Sample(path, 0, None, "d")])], model.preprocessing, None, 0)
    pixels = training_set.batch(np.array([0]), 0).images
    trained_on = augment(pixels, Augmentation(flip=0), model.preprocessing, torch.Generator())
    array = np.asarray(Image.open(path).convert("RGB"))
    last = last_input(model)
    tensor = torch.from_numpy(array.copy())
    ways = {
        "a path": path,
        "paths as text": [str(path)],
        "arrays": [array],
        "an array": array[None],
        "channels last": tensor[None],
        "channels first": tensor.permute(2, 0, 1)[None],
        "float": tensor.permute(2, 0, 1)[None].float() / 255,
        "double array": [array / 255],
        "half": tensor[None].float().div(255).half(),
    }
    rows = []
    for name, images in ways.items():
        rows.append(model.embed(images))
        assert torch.equal(last(), trained_on), name
    model.embed(path, boxes=[[0, 0, size[1], size[0]]])
    assert torch.equal(last(), trained_on)
    assert all(torch.equal(row, rows[0]) for row in rows)


def test_rows_are_normalised_float32_in_the_order_given(model: Model) -> None:
    images = [noise(40, 20, 3, seed=k) for k in range(7)]
    rows = model.embed(images, batch_size=3)
    assert rows.shape == (7, model.dimension)
    assert rows.dtype == torch.float32
    assert not rows.is_inference()
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(7))
    raw = model.embed_batch(
        torch.from_numpy(np.stack([model.preprocessing.resize(Image.fromarray(i)) for i in images])).permute(0, 3, 1, 2)
    )
    torch.testing.assert_close(rows, raw / raw.norm(dim=1, keepdim=True), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(rows, model.embed(images[::-1]).flip(0), atol=1e-5, rtol=1e-4)


def test_batches_are_no_larger_than_asked() -> None:
    embedder = Pixels()
    embedder.embed([noise(9, 9, 3)] * 7, batch_size=3)
    assert [len(batch) for batch in embedder.batches] == [3, 3, 1]


def test_flip_averages_the_normalised_embeddings_of_image_and_mirror_image(model: Model) -> None:
    image = noise(32, 16, 3)
    plain, mirrored = model.embed([image, image[:, ::-1]])
    expected = (plain + mirrored) / (plain + mirrored).norm()
    torch.testing.assert_close(model.embed([image], flip=True)[0], expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(plain, mirrored, atol=1e-3)


@pytest.mark.parametrize("form", ["array", "list", "tensor", "xyxy", "xyxy tensor"])
def test_boxes_are_cut_from_the_frame(form: str) -> None:
    frame = noise(20, 30, 3)
    boxes = np.array([[2.0, 3.0, 9.0, 15.0], [10.2, 4.7, 20.1, 11.4], [-5.0, -6.0, 4.0, 7.0], [25.0, 15.0, 99.0, 99.0]])
    given = {
        "array": boxes,
        "list": boxes.tolist(),
        "tensor": torch.from_numpy(boxes),
        "xyxy": SimpleNamespace(xyxy=boxes),
        "xyxy tensor": SimpleNamespace(xyxy=torch.from_numpy(boxes).float()),
    }[form]
    crops = [frame[3:15, 2:9], frame[4:12, 10:21], frame[0:7, 0:4], frame[15:20, 25:30]]
    embedder = Pixels()
    assert torch.equal(embedder.embed(frame, boxes=given), embedder.embed(crops))


def test_a_frame_may_be_a_file(tmp_path: Path) -> None:
    Image.fromarray(noise(20, 30, 3)).save(tmp_path / "frame.png")
    embedder = Pixels()
    boxes = np.array([[1, 2, 11, 19]])
    assert torch.equal(
        embedder.embed(tmp_path / "frame.png", boxes=boxes), embedder.embed(noise(20, 30, 3), boxes=boxes)
    )
    with pytest.raises(PasserbyError, match=r"none\.png: no such image file"):
        embedder.embed(str(tmp_path / "none.png"), boxes=boxes)
    (tmp_path / "empty.png").touch()
    with pytest.raises(PasserbyError, match="the file is empty"):
        embedder.embed(tmp_path / "empty.png", boxes=boxes)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[40, 2, 50, 9]], r"box \(40, 2, 50, 9\) lies outside the 30 x 20 frame"),
        ([[0, 0, 5, 5], [9, 9, 3, 12]], r"box \(9, 9, 3, 12\)"),
        ([[0, 0, float("nan"), 5]], "not finite"),
        ([[0, 0, float("inf"), 5]], "not finite"),
        ([[0, 0, 5]], r"boxes of shape \(1, 3\)"),
        ([0, 0, 5, 5], r"boxes of shape \(4,\)"),
    ],
)
def test_boxes_that_are_none_are_named(boxes: list[float], message: str) -> None:
    with pytest.raises(PasserbyError, match=message):
        Pixels().embed(noise(20, 30, 3), boxes=np.array(boxes))


def test_no_images_give_no_rows_of_the_right_width(model: Model) -> None:
    for rows in (
        model.embed([]),
        model.embed(noise(20, 30, 3), boxes=np.empty((0, 4))),
        model.embed(np.empty((0, 9, 9, 3), np.uint8)),
    ):
        assert rows.shape == (0, model.dimension)
        assert rows.dtype == torch.float32
    assert torch.cat([model.embed([]), model.embed([noise(9, 9, 3)])]).shape == (1, model.dimension)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (noise(9, 9, 3), r"shape \(9, 3\)"),
        (noise(2, 9, 9), r"shape \(9, 9\)"),
        (noise(2, 9, 9, 4), r"shape \(9, 9, 4\)"),
        (noise(2, 1, 9, 9), r"shape \(1, 9, 9\)"),
        ([noise(0, 5, 3)], r"shape \(0, 5, 3\)"),
        (torch.randn(2, 3, 9, 9), "not normalised: the model does that itself"),
        (torch.rand(2, 3, 9, 9) * 255, "float in"),
        (torch.full((1, 3, 9, 9), float("nan")), "float32 values from nan"),
        (noise(1, 9, 9, 3).astype(np.int64), "int64 values"),
        (noise(1, 9, 9, 3) > 5, "bool values"),
        (["nowhere.jpg"], r"nowhere\.jpg: no such image file"),
    ],
)
def test_what_is_no_image_is_named(images: np.ndarray, message: str) -> None:
    with pytest.raises(PasserbyError, match=message) as error:
        Pixels().embed(images)
    assert "\n" not in str(error.value)


def test_progress_shows_and_changes_nothing() -> None:
    images = [noise(9, 9, 3, seed=k) for k in range(5)]
    assert torch.equal(
        Pixels().embed(images, batch_size=2, progress=True), torch.cat([Pixels().embed([i]) for i in images])
    )
