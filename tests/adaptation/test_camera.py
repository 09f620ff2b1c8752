"""Camera normalisation against the plain formula, camera by camera."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from passerby.adaptation import CameraStatistics
from passerby.errors import PasserbyError

Cameras = list[str | None]
some_cameras = st.lists(st.sampled_from([None, "", "a", "b", "c", "lobby"]), min_size=2, max_size=24)


def rows(count: int, width: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, width, generator=generator))


def plain(known: Tensor, known_cameras: Cameras, embeddings: Tensor, cameras: Cameras) -> Tensor:
    """(f - mean) / deviation of the images of its camera, or of all where there are fewer than two; length 1."""
    normalised = []
    for embedding, camera in zip(embeddings.double(), cameras, strict=True):
        own = [k for k, other in enumerate(known_cameras) if camera and other == camera]
        group = known.double()[own if len(own) >= 2 else list(range(len(known)))]
        mean = group.mean(0)
        deviation = (group - mean).square().mean(0).sqrt().clamp(min=1e-6)
        row = (embedding - mean) / deviation
        normalised.append(row / row.norm())
    return torch.stack(normalised)


@settings(max_examples=80, deadline=None)
@given(known=some_cameras, cameras=some_cameras, width=st.integers(2, 8), seed=st.integers(0, 99))
def test_equals_the_plain_formula(known: Cameras, cameras: Cameras, width: int, seed: int) -> None:
    # Three images at least differ in every number: of two the deviation is of the size of a rounding error at worst.
    images, others = rows(len(known), width, seed), rows(len(cameras), width, seed + 100)
    found = CameraStatistics.of(images, known).normalise(others, cameras)
    assert found.dtype == torch.float32
    expected = plain(images, known, others, cameras)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(len(cameras)))


def test_statistics_are_of_each_camera_and_first_of_all() -> None:
    images = rows(6)
    found = CameraStatistics.of(images, ["b", None, "a", "b", "a", "c"])
    assert found.cameras == ("", "b", "a")  # `c` has one image, the image without camera belongs to none
    for row, own in enumerate(([0, 1, 2, 3, 4, 5], [0, 3], [2, 4])):
        torch.testing.assert_close(found.mean[row], images[own].mean(0))
        torch.testing.assert_close(found.deviation[row], images[own].std(0, correction=0))


def test_normalised_images_of_a_camera_have_mean_0_and_deviation_1_before_their_length_is_1() -> None:
    shift = 3 * torch.arange(2.0)[:, None]
    images, cameras = rows(40) + shift.repeat_interleave(20, 0), ["a"] * 20 + ["b"] * 20
    found = CameraStatistics.of(images, cameras).normalise(images, cameras)
    # What tells the cameras apart is gone: without statistics of their own it was all there was.
    assert float((found[:20].mean(0) - found[20:].mean(0)).norm()) < 0.3
    assert float((torch.nn.functional.normalize(images)[:20].mean(0) - 5**-0.5).norm()) > 0.5


@pytest.mark.parametrize("camera", [None, "", "never seen", "alone"])
def test_a_camera_without_statistics_takes_those_of_all_images(camera: str | None) -> None:
    images, cameras = rows(9), ["a"] * 4 + ["b"] * 4 + ["alone"]
    found = CameraStatistics.of(images, cameras).normalise(images[:1], [camera])[0]
    row = (images[0] - images.mean(0)) / images.std(0, correction=0)
    torch.testing.assert_close(found, row / row.norm())


def test_a_deviation_of_0_gives_finite_rows() -> None:
    images = rows(8)
    images[:, 2] = 0.25  # a dead channel
    images[4:] = images[4]  # a camera that saw one image again and again
    cameras = ["a"] * 4 + ["b"] * 4
    statistics = CameraStatistics.of(images, cameras)
    assert float(statistics.deviation.min()) == 0
    found = statistics.normalise(images, cameras)
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found[:4].norm(dim=1), torch.ones(4))
    assert not found[4:].any()
    torch.testing.assert_close(found[:4, 2], torch.zeros(4))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images(count: int) -> None:
    with pytest.raises(PasserbyError, match=f"camera normalisation: {count} images; give at least 2"):
        CameraStatistics.of(rows(2)[:count], ["a"] * count)


def test_no_image_to_normalise() -> None:
    assert CameraStatistics.of(rows(4), ["a"] * 4).normalise(rows(2)[:0], []).shape == (0, 5)
