"""The camera: matrices equal their plain definition, each flaw does what its name says."""

from dataclasses import replace

import numpy as np
import pytest

from passerby.data.synthetic.camera import Cameras, draw_cameras
from passerby.data.synthetic.domain import NEUTRAL
from passerby.data.synthetic.draws import Draws
from passerby.data.synthetic.sensor import capture, develop, enlarge_matrices, shrink_matrices, transform

F = np.float32


def clean(count: int) -> Cameras:
    """Cameras without any flaw."""
    one, zero = np.ones(count, F), np.zeros(count, F)
    cameras = draw_cameras(NEUTRAL, 0).take(np.zeros(count, np.int64))
    return replace(
        cameras,
        gain=one,
        gamma=one,
        saturation=one,
        white=np.ones((count, 3), F),
        haze=zero,
        vignette=zero,
        defocus=zero,
        motion=zero,
        noise=zero,
        native=np.full((count, 2), 128, F),
        jpeg=np.full((count, 2), 98, F),
    )


def pictures(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.random((count, 3, 8, 4)).astype(F)
    return np.kron(coarse, np.ones((16, 16), F))


def test_shrinking_is_a_gaussian_average_and_enlarging_interpolates() -> None:
    small, blur = np.array([5, 8]), np.array([0.7, 0.0], F)
    shrink, enlarge = shrink_matrices(8, small, blur), enlarge_matrices(8, small)
    for n in range(2):
        for o in range(8):
            if o >= small[n]:
                assert not shrink[n, o].any()
                continue
            step = 8 / small[n]
            weights = np.exp(
                -0.5 * (np.arange(8) - ((o + 0.5) * step - 0.5)) ** 2 / ((0.45 * step) ** 2 + blur[n] ** 2)
            )
            np.testing.assert_allclose(shrink[n, o], weights / weights.sum(), atol=1e-6)
        line = np.linspace(1, 2, 8)
        known = (np.arange(small[n]) + 0.5) * 8 / small[n] - 0.5
        np.testing.assert_allclose(enlarge[n] @ line, np.interp(np.arange(8), known, line[: small[n]]), atol=1e-5)


@pytest.mark.parametrize("size", [(128, 64), (256, 128), (37, 19)])
def test_transform_is_the_plain_product(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    rows, columns = rng.random((2, size[0], size[0])).astype(F), rng.random((2, size[1], size[1])).astype(F)
    images = rng.random((2, 3, *size)).astype(F)
    expected = np.einsum("nij,ncjk,nlk->ncil", rows, images, columns, optimize=True)
    np.testing.assert_allclose(transform(rows, images, columns), expected, rtol=1e-4)


def test_a_clean_camera_shows_what_is_there() -> None:
    light = pictures(3)
    np.testing.assert_allclose(develop(light.copy(), clean(3), np.ones(3, F)), light, atol=1e-6)
    image = capture(light, clean(3), np.zeros(50_000, F), Draws(0, "x", np.arange(3)))
    assert image.shape == (3, 128, 64, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.transpose(0, 3, 1, 2) / 255 - light).mean() < 0.03


def test_tone_follows_its_formula() -> None:
    light = pictures(1)
    cameras = replace(clean(1), gain=np.full(1, 0.8, F), gamma=np.full(1, 1.5, F), haze=np.full(1, 0.25, F))
    cameras = replace(cameras, saturation=np.full(1, 0.5, F), white=np.array([[1.1, 1.0, 0.9]], F))
    shown = develop(light.copy(), cameras, np.ones(1, F))
    hazy = 0.75 * light + 0.25 * cameras.haze_colour[:, :, None, None]
    lit = hazy * 0.8 * np.array([1.1, 1.0, 0.9])[None, :, None, None]
    grey = (np.array([0.299, 0.587, 0.114])[None, :, None, None] * lit).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shown, (0.5 * grey + 0.5 * lit).clip(0, 1) ** 1.5, atol=1e-5)


def detail(images: np.ndarray) -> float:
    return float(np.abs(np.diff(images.astype(float), axis=1)).mean())


def test_each_flaw_does_what_its_name_says() -> None:
    rng = np.random.default_rng(0)
    sharp = np.repeat(rng.random((4, 3, 64, 64)).astype(F), 2, axis=2)
    noise = rng.standard_normal(60_000).astype(F)

    def shot(light: np.ndarray = sharp, **changed: np.ndarray) -> np.ndarray:
        return capture(light, replace(clean(4), **changed), noise, Draws(0, "x", np.arange(4)))

    assert detail(shot(defocus=np.full(4, 2, F))) < 0.6 * detail(shot())
    assert detail(shot(native=np.full((4, 2), 40, F))) < 0.6 * detail(shot())
    flat = np.full((4, 3, 128, 64), 0.5, F)
    assert shot(flat).std() < 1.5
    assert 4 < shot(flat, noise=np.full(4, 0.05, F)).std() < 20
    coarse = np.full((4, 2), 10, F)
    assert np.abs(shot(jpeg=coarse).astype(float) - shot()).mean() > 8


def test_cameras_of_a_domain_differ_by_its_variety() -> None:
    usual, alike = draw_cameras(NEUTRAL, 0), draw_cameras(replace(NEUTRAL, variety=0.0), 0)
    assert np.ptp(usual.gain) > 0.02
    np.testing.assert_allclose(alike.gain, NEUTRAL.gain, rtol=1e-6)
    np.testing.assert_allclose(alike.white, 1, rtol=1e-6)
