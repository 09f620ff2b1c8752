"""From files to pixels to network input."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from passerby.data.images import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, open_image, to_tensor
from passerby.errors import PasserbyError

SMALL = Preprocessing(height=16, width=8)


def opened(path: Path) -> str:
    """The message about a file that cannot be opened; empty for one that can. Any other error goes through."""
    try:
        open_image(path)
    except PasserbyError as error:
        return str(error)
    return ""


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK", "LA"])
def test_resize_is_pillows_antialiased_bilinear_of_the_rgb_image(mode: str) -> None:
    image = Image.fromarray(noise(40, 31)).convert(mode)
    pixels = SMALL.resize(image)
    assert pixels.shape == (16, 8, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB").resize((8, 16), Image.Resampling.BILINEAR)))


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    np.testing.assert_array_equal(SMALL.resize(Image.fromarray(noise(16, 8))), noise(16, 8))


def test_transparency_is_dropped_not_blended() -> None:
    pixels = noise(16, 8, 4)
    np.testing.assert_array_equal(SMALL.resize(Image.fromarray(pixels)), pixels[..., :3])


def test_read_many_keeps_the_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.png" for k in range(20)]
    for k, path in enumerate(paths):
        Image.new("RGB", (8, 16), (k, 2 * k, 255 - k)).save(path)
    pixels = SMALL.read_many(paths)
    np.testing.assert_array_equal(pixels, np.stack([SMALL.read(path) for path in paths]))
    np.testing.assert_array_equal(pixels[:, 0, 0], [[k, 2 * k, 255 - k] for k in range(20)])
    assert SMALL.read_many([]).shape == (0, 16, 8, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the file is empty"), (b"no image at all", "no image format known to Pillow"), (None, "no such image file")],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PasserbyError, match=message) as error:
        SMALL.read(path)
    assert str(path) in str(error.value)


def test_a_folder_and_a_path_below_a_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(PasserbyError, match="it is a folder"):
        SMALL.read(tmp_path)
    (tmp_path / "a").touch()
    with pytest.raises(PasserbyError, match=r"a/b\.jpg: cannot be read"):
        SMALL.read(tmp_path / "a" / "b.jpg")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "tif", "webp", "ppm"])
def test_a_file_cut_anywhere_is_an_error_of_one_line_or_an_image(tmp_path: Path, suffix: str) -> None:
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    Image.fromarray(noise(24, 12)).save(whole)
    data = whole.read_bytes()
    failures = 0
    for length in range(0, len(data), max(1, len(data) // 60)):
        cut.write_bytes(data[:length])
        message = opened(cut)
        failures += message != ""
        assert message == "" or str(cut) in message
        assert "\n" not in message
    assert failures > 30


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=60, deadline=None)
@given(
    place=st.integers(0, 2**16), value=st.integers(0, 255), suffix=st.sampled_from(["jpg", "png", "bmp", "gif", "tif"])
)
def test_a_damaged_byte_is_an_error_of_ours_or_an_image(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    Image.fromarray(noise(24, 12)).save(path)
    data = bytearray(path.read_bytes())
    data[place % min(len(data), 200)] = value
    path.write_bytes(bytes(data))
    message = opened(path)
    assert message == "" or str(path) in message


@pytest.mark.parametrize("bgr", [False, True])
def test_normalise_is_the_plain_formula(bgr: bool) -> None:
    preprocessing = Preprocessing(height=5, width=4, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), bgr=bgr)
    pixels = torch.from_numpy(noise(5, 4)).permute(2, 0, 1)[None]
    expected = torch.empty(1, 3, 5, 4, dtype=torch.float64)
    for place, channel in enumerate((2, 1, 0) if bgr else (0, 1, 2)):
        expected[0, place] = (pixels[0, channel].double() / 255 - (0.1, 0.2, 0.3)[channel]) / (0.5, 0.6, 0.7)[channel]
    inputs = preprocessing.normalise(pixels)
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs.double(), expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(inputs, preprocessing.normalise(pixels.float()))


def test_defaults_are_imagenets() -> None:
    assert (SMALL.mean, SMALL.std, SMALL.bgr) == (IMAGENET_MEAN, IMAGENET_STD, False)
    black = SMALL.normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8)).flatten()
    torch.testing.assert_close(black, torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]))


def test_to_tensor_is_a_channels_last_view() -> None:
    pixels = noise(16, 8)[None].repeat(2, axis=0)
    tensor = to_tensor(pixels)
    assert tensor.shape == (2, 3, 16, 8)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert tensor.data_ptr() == pixels.ctypes.data
    assert int(tensor[1, 2, 3, 4]) == int(pixels[1, 3, 4, 2])
    assert SMALL.normalise(tensor).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("values", [{"std": (1.0, 0.0, 1.0)}, {"height": 0}, {"width": -1}, {"swap": True}])
def test_settings_that_make_no_sense_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preprocessing.model_validate({"height": 16, "width": 8, **values})


def test_grey_of_16_bits_is_scaled_and_not_cut_off(tmp_path: Path) -> None:
    grey = noise(12, 9)[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.tiff")
    for name in ("a.png", "a.tiff"):
        np.testing.assert_array_equal(np.asarray(open_image(tmp_path / name)), np.stack([grey] * 3, 2))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_grey_of_32_bits_is_refused(tmp_path: Path, kind: type) -> None:
    Image.fromarray(noise(12, 9)[..., 0].astype(kind)).save(tmp_path / "a.tiff")
    assert "32-bit grey says nothing of its white" in opened(tmp_path / "a.tiff")


def test_an_orientation_tag_is_not_heeded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(12, 9)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.png")), noise(12, 9))
