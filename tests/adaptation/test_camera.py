"""Camera normalisation against the plain formula, camera by camera."""

import random

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from passerby.adaptation import CameraStatistics
from passerby.errors import PasserbyError

Cameras = list[str | None]
NAMES: Cameras = [None, "", "a", "b", "c", "lobby"]
FEWEST = 8
"""A camera with fewer images has no statistics of its own."""
counts = st.tuples(*[st.integers(0, 11)] * len(NAMES)).filter(lambda numbers: sum(numbers) >= FEWEST)


def rows(count: int, width: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, width, generator=generator))


def plain(known: Tensor, known_cameras: Cameras, embeddings: Tensor, cameras: Cameras) -> Tensor:
    """(f - mean) / deviation of the images of its camera, or of all where there are fewer than eight; length 1."""
    normalised = []
    for embedding, camera in zip(embeddings.double(), cameras, strict=True):
        own = [k for k, other in enumerate(known_cameras) if camera and other == camera]
        group = known.double()[own if len(own) >= FEWEST else list(range(len(known)))]
        mean = group.mean(0)
        deviation = (group - mean).square().mean(0).sqrt().clamp(min=0.001)
        row = (embedding - mean) / deviation
        normalised.append(row / row.norm())
    return torch.stack(normalised)


@settings(max_examples=80, deadline=None)
@given(
    numbers=counts,
    cameras=st.lists(st.sampled_from([*NAMES, "never seen"]), min_size=1, max_size=24),
    width=st.integers(2, 8),
    seed=st.integers(0, 99),
)
@example(numbers=(0, 0, 7, 8, 9, 0), cameras=["a", "b", "c", None, "lobby"], width=5, seed=0)
@example(numbers=(0, 0, 8, 0, 0, 0), cameras=["a", None, ""], width=5, seed=1)
def test_equals_the_plain_formula(numbers: tuple[int, ...], cameras: Cameras, width: int, seed: int) -> None:
    known = [name for name, number in zip(NAMES, numbers, strict=True) for _ in range(number)]
    random.Random(seed).shuffle(known)
    images, others = rows(len(known), width, seed), rows(len(cameras), width, seed + 100)
    found = CameraStatistics.of(images, known).normalise(others, cameras)
    assert found.dtype == torch.float32
    expected = plain(images, known, others, cameras)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(len(cameras)))


def test_statistics_are_of_each_camera_and_first_of_all() -> None:
    images = rows(27)
    found = CameraStatistics.of(images, ["b", None, "a"] + ["b", "a", "c"] * 7 + [None, "a", None])
    # `c` has seven images, those without camera belong to none.
    assert found.cameras == ("", "b", "a")
    of_a, of_b = [2, *range(4, 24, 3), 25], [0, *range(3, 24, 3)]
    for row, own in enumerate((list(range(27)), of_b, of_a)):
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
    images, cameras = rows(23), ["a"] * 8 + ["b"] * 8 + ["alone"] * 7
    statistics = CameraStatistics.of(images, cameras)
    found = statistics.normalise(images[:1], [camera])[0]
    row = (images[0] - images.mean(0)) / images.std(0, correction=0)
    torch.testing.assert_close(found, row / row.norm())
    assert not torch.allclose(found, statistics.normalise(images[:1], ["a"])[0], atol=0.01)


def test_a_deviation_of_0_gives_finite_rows() -> None:
    images = rows(16)
    images[:, 2] = 0.25  # a dead channel
    images[8:] = torch.tensor([0.5, -0.5, 0.25, 0.5, 0.25])  # a camera that saw one image again and again
    cameras = ["a"] * 8 + ["b"] * 8
    statistics = CameraStatistics.of(images, cameras)
    assert float(statistics.deviation.min()) == 0
    found = statistics.normalise(images, cameras)
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found[:8].norm(dim=1), torch.ones(8))
    assert not found[8:].any()
    torch.testing.assert_close(found[:8, 2], torch.zeros(8))
    # What that camera sees later is brought to length 1 like everything else.
    torch.testing.assert_close(statistics.normalise(images[:1], ["b"]).norm(), torch.tensor(1.0))


@pytest.mark.parametrize("deviation", [1e-7, 1e-5])
def test_a_channel_that_hardly_varies_counts_for_little(deviation: float) -> None:
    images = rows(40)
    noise = deviation * torch.randn(40, generator=torch.Generator().manual_seed(5))
    without = images.clone()
    without[:, 2] = 0.25
    images[:, 2] = 0.25 + noise
    cameras: Cameras = ["a"] * 40
    found = CameraStatistics.of(images, cameras).normalise(images, cameras)
    expected = CameraStatistics.of(without, cameras).normalise(without, cameras)
    # Brought to deviation 1, as the others are, it would weigh as much as they do.
    assert 0 < float(found[:, 2].abs().max()) < 5 * deviation / 0.001
    torch.testing.assert_close(found, expected, rtol=0, atol=5 * deviation / 0.001)
    # A channel that varies by more than 0.001 does count like all others.
    images[:, 2] = 0.25 + 200 * 1e-5 / deviation * noise
    found = CameraStatistics.of(images, cameras).normalise(images, cameras)
    assert 0.25 < float(found[:, 2].square().mean()) * 5 < 2


@pytest.mark.parametrize("count", [0, 1, 7])
def test_fewer_than_eight_images_in_all(count: int) -> None:
    with pytest.raises(PasserbyError, match=f"camera normalisation: {count} images; give at least 8"):
        CameraStatistics.of(rows(7)[:count], ["a"] * count)


def test_no_image_to_normalise() -> None:
    assert CameraStatistics.of(rows(8), ["a"] * 8).normalise(rows(2)[:0], []).shape == (0, 5)
