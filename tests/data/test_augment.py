"""Augmentation, against plain loops over images and torchvision's functions."""

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from passerby.data.augment import Augmentation, augment, colour_jitter, erase, flip_and_crop, resized_crop
from passerby.data.images import Preprocessing

PREPROCESSING = Preprocessing(height=16, width=8)
NOTHING = Augmentation(flip=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(count: int, height: int = 16, width: int = 8) -> Tensor:
    """Random uint8 images, channels_last as the cache gives them."""
    rng = np.random.default_rng(count)
    return torch.from_numpy(rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)).permute(0, 3, 1, 2)


def equal_images(count: int) -> Tensor:
    return pixels(1).expand(count, -1, -1, -1)


def distinct(images: Tensor) -> int:
    return len(torch.unique(images.flatten(1), dim=0))


@pytest.mark.parametrize("bgr", [False, True])
def test_nothing_asked_is_plain_normalisation_to_the_bit(bgr: bool) -> None:
    preprocessing = PREPROCESSING.model_copy(update={"bgr": bgr})
    images = pixels(9)
    assert torch.equal(augment(images, NOTHING, preprocessing, seeded()), preprocessing.normalise(images))


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 5),
    height=st.integers(2, 12),
    width=st.integers(2, 12),
    flip=st.sampled_from([0.0, 0.5, 1.0]),
    pad=st.integers(0, 4),
    seed=st.integers(0, 99),
)
def test_flip_and_crop_equals_a_plain_loop(
    count: int, height: int, width: int, flip: float, pad: int, seed: int
) -> None:
    images = pixels(count, height, width)
    generator = seeded(seed)
    flipped = torch.rand(count, generator=generator) < flip
    offsets = torch.randint(0, 2 * pad + 1, (2, count), generator=generator)
    expected = torch.empty_like(images)
    for n in range(count):
        image = images[n].flip(2) if flipped[n] else images[n]
        bordered = torch.zeros(3, height + 2 * pad, width + 2 * pad, dtype=torch.uint8)
        bordered[:, pad : pad + height, pad : pad + width] = image
        top, left = int(offsets[0, n]), int(offsets[1, n])
        expected[n] = bordered[:, top : top + height, left : left + width]
    for given_images in (images, images.contiguous()):
        out = flip_and_crop(given_images, flip, pad, seeded(seed))
        assert torch.equal(out, expected)
        assert out.dtype == torch.uint8
        assert out.permute(0, 2, 3, 1).is_contiguous()


def test_flip_happens_as_often_as_asked() -> None:
    ramp = torch.arange(8, dtype=torch.uint8).expand(4000, 3, 2, 8)
    flipped = (flip_and_crop(ramp, 0.3, 0, seeded())[:, 0, 0, 0] == 7).float().mean()
    assert abs(float(flipped) - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5


def test_every_offset_of_a_crop_comes_up_equally() -> None:
    image = torch.zeros(1, 3, 5, 5, dtype=torch.uint8)
    image[:, :, 2, 2] = 1
    out = flip_and_crop(image.expand(5000, -1, -1, -1), 0, 2, seeded())[:, 0]
    places = out.sum(0).double()  # the bright pixel lands at each of the 5 x 5 places
    assert int(places.sum()) == 5000
    assert (places - 200).abs().max() < 5 * 200**0.5


def test_the_border_is_black_before_normalisation() -> None:
    white = torch.full((200, 3, 16, 8), 255, dtype=torch.uint8)
    out = augment(white, Augmentation(flip=0, pad=3), PREPROCESSING, seeded())
    black = PREPROCESSING.normalise(torch.zeros(1, 3, 1, 1))
    bright = PREPROCESSING.normalise(torch.full((1, 3, 1, 1), 255.0))
    assert torch.all((out == black) | (out == bright))
    assert bool((out == black).any())


@pytest.mark.parametrize("hue", [0.0, 0.2])
@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_jitter_is_torchvisions_for_each_image_with_its_own_factors(hue: float, probability: float) -> None:
    settings_ = Augmentation(jitter=probability, brightness=0.5, contrast=0.6, saturation=0.7, hue=hue)
    images = pixels(24).float() / 255
    generator = seeded(3)
    draws = [torch.rand((24, 1, 1, 1), generator=generator).flatten() for _ in range(5 if hue else 4)]
    out = colour_jitter(images, settings_, seeded(3))
    changed = 0
    for n in range(24):
        expected = images[n]
        if draws[0][n] < probability:
            changed += 1
            factors = [
                1 + strength * (2 * float(draw[n]) - 1)
                for strength, draw in zip((0.5, 0.6, 0.7), draws[1:4], strict=True)
            ]
            expected = TF.adjust_brightness(expected, factors[0])
            expected = TF.adjust_contrast(expected, factors[1])
            expected = TF.adjust_saturation(expected, factors[2])
            if hue:
                expected = TF.adjust_hue(expected, hue * (2 * float(draws[4][n]) - 1))
        else:
            assert torch.equal(out[n], expected)
        # torchvision rounds the red weight of the luma to 0.2989.
        torch.testing.assert_close(out[n], expected, atol=2e-3, rtol=0)
    assert changed == 24 if probability == 1 else 4 < changed < 20


def test_jitter_stays_in_range_and_leaves_black_and_white_hue_alone() -> None:
    out = colour_jitter(
        pixels(50).float() / 255, Augmentation(jitter=1, brightness=1, contrast=1, saturation=1, hue=0.5), seeded()
    )
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1
    grey = torch.linspace(0, 1, 128).view(1, 1, 16, 8).expand(4, 3, 16, 8)
    hue_only = Augmentation(jitter=1, brightness=0, contrast=0, saturation=0, hue=0.5)
    torch.testing.assert_close(colour_jitter(grey, hue_only, seeded()), grey)


def test_jitter_with_all_strengths_zero_does_nothing() -> None:
    still = Augmentation(flip=0, jitter=1, brightness=0, contrast=0, saturation=0, hue=0)
    out = augment(pixels(6), still, PREPROCESSING, seeded())
    torch.testing.assert_close(out, PREPROCESSING.normalise(pixels(6)), atol=1e-4, rtol=0)


def test_grey_drops_the_colour_of_as_many_images_as_asked() -> None:
    images = pixels(1000, 4, 4)
    out = augment(images, Augmentation(flip=0, grey=0.2), PREPROCESSING, seeded())
    luma = (0.299 * images[:, 0].float() + 0.587 * images[:, 1].float() + 0.114 * images[:, 2].float())[:, None].expand(
        -1, 3, -1, -1
    )
    plain, grey = PREPROCESSING.normalise(images), PREPROCESSING.normalise(luma)
    is_plain = (out == plain).flatten(1).all(1)
    is_grey = ((out - grey).abs() < 1e-4).flatten(1).all(1)
    assert torch.all(is_plain ^ is_grey)
    assert abs(float(is_grey.float().mean()) - 0.2) < 4 * (0.2 * 0.8 / 1000) ** 0.5


def test_erase_cuts_one_rectangle_of_the_asked_size_out_of_as_many_images_as_asked() -> None:
    height, width, count = 64, 32, 3000
    out = erase(torch.ones(count, 3, height, width), 0.4, seeded())
    assert set(out.unique().tolist()) == {0.0, 1.0}
    hole = out[:, 0] == 0
    assert torch.equal(hole[:, None].expand(-1, 3, -1, -1), out == 0)
    chosen = hole.flatten(1).any(1)
    assert abs(float(chosen.float().mean()) - 0.4) < 4 * (0.4 * 0.6 / count) ** 0.5
    hole = hole[chosen]
    rows, columns = hole.any(2), hole.any(1)
    assert torch.equal(rows[:, :, None] & columns[:, None, :], hole)
    for line in (rows, columns):  # one unbroken run
        assert torch.all((line[:, 1:] != line[:, :-1]).sum(1) + line[:, 0].int() + line[:, -1].int() == 2)
    tall, wide = rows.sum(1).double(), columns.sum(1).double()
    area = tall * wide / (height * width)
    rounding = (tall + wide) / 2 / (height * width) + 1e-3
    assert torch.all(area > 0.02 - rounding)
    assert torch.all(area < 0.4 + rounding)
    assert float(area.min()) < 0.04
    assert float(area.max()) > 0.33
    aspect = tall / wide
    free = wide < width - 1  # where the width did not hit the image's edge
    assert float((aspect[free] / (1 + 1 / tall[free])).max()) < 3.3 * 1.2
    assert float(aspect.min()) > 0.3 / 1.2
    assert rows[:, 0].any()
    assert rows[:, -1].any()
    assert columns[:, 0].any()
    assert columns[:, -1].any()


def test_erased_pixels_are_the_mean_colour() -> None:
    out = augment(pixels(20), Augmentation(flip=0, erase=1), PREPROCESSING, seeded())
    plain = PREPROCESSING.normalise(pixels(20))
    assert torch.all((out == plain) | (out == 0))
    assert torch.all((out == 0).flatten(1).any(1))


@pytest.mark.parametrize(
    "asked",
    [
        Augmentation(flip=0.5),
        Augmentation(flip=0, pad=3),
        Augmentation(flip=0, jitter=1),
        Augmentation(flip=0, jitter=1, brightness=0, contrast=0, saturation=0, hue=0.3),
        Augmentation(flip=0, grey=0.5),
        Augmentation(flip=0, erase=1),
        Augmentation(flip=0, resized_crop=0.3),
    ],
)
def test_every_image_has_its_own_draw_and_the_generator_decides(asked: Augmentation) -> None:
    images = equal_images(32)
    out = augment(images, asked, PREPROCESSING, seeded(1))
    assert distinct(out) > (1 if asked.pad == asked.jitter == asked.erase == 0 and asked.resized_crop == 1 else 15)
    assert torch.equal(out, augment(images, asked, PREPROCESSING, seeded(1)))
    assert not torch.equal(out, augment(images, asked, PREPROCESSING, seeded(2)))
    torch.manual_seed(5)
    assert torch.equal(out, augment(images, asked, PREPROCESSING, seeded(1)))


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 4), height=st.integers(1, 9), width=st.integers(1, 9), bgr=st.booleans())
def test_shape_type_and_layout_whatever_the_size(count: int, height: int, width: int, bgr: bool) -> None:
    everything = Augmentation(flip=0.5, pad=2, jitter=0.5, hue=0.1, grey=0.5, erase=0.5)
    images = pixels(count, height, width)
    before = images.clone()
    out = augment(images, everything, PREPROCESSING.model_copy(update={"bgr": bgr}), seeded())
    assert out.shape == (count, 3, height, width)
    assert out.dtype == torch.float32
    assert bool(out.isfinite().all())
    assert torch.equal(images, before)


def test_output_is_channels_last() -> None:
    everything = Augmentation(flip=0.5, pad=2, jitter=0.5, hue=0.1, grey=0.5, erase=0.5)
    for preprocessing in (PREPROCESSING, PREPROCESSING.model_copy(update={"bgr": True})):
        out = augment(pixels(4), everything, preprocessing, seeded())
        assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("values", [{"flip": 1.1}, {"pad": -1}, {"hue": 0.6}, {"erase": -0.1}, {"mixup": 1}])
def test_settings_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Augmentation.model_validate(values)


def test_a_resized_crop_is_a_rectangle_of_the_asked_area_drawn_to_full_size() -> None:
    height, width, count = 64, 32, 400
    # A picture of its own coordinates tells which rectangle was cut, by its corners.
    rows = (torch.arange(height) + 0.5).view(1, 1, -1, 1).expand(count, 1, height, width)
    columns = (torch.arange(width) + 0.5).view(1, 1, 1, -1).expand(count, 1, height, width)
    found = resized_crop(torch.cat((rows, columns, rows), 1), 0.3, seeded())
    tall = (found[:, 0, -1, 0] - found[:, 0, 0, 0]) / (height - 1)
    wide = (found[:, 1, 0, -1] - found[:, 1, 0, 0]) / (width - 1)
    area, stretch = tall * wide, wide / tall
    assert 0.27 < float(area.min()) < 0.36
    assert float(area.max()) <= 1.001
    assert float(area.mean()) == pytest.approx(0.65, abs=0.04)
    assert float(stretch.min()) >= 0.74
    assert float(stretch.max()) <= 1.35
    assert float(found.min()) >= 0.5
    assert len(found[:, 0, 0, 0].unique()) > 300  # every image its own
    # Straight lines stay straight: what is between the corners is evenly spaced.
    steps = found[:, 0, 1:, 0] - found[:, 0, :-1, 0]
    torch.testing.assert_close(steps[:, 1:-1], tall[:, None].expand(-1, height - 3), atol=0.05, rtol=0)
    whole = augment(pixels(4), Augmentation(flip=0), PREPROCESSING, seeded())
    assert not torch.equal(whole, augment(pixels(4), Augmentation(flip=0, resized_crop=0.2), PREPROCESSING, seeded()))
