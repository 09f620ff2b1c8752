"""Rendered data sets: reproducible to the byte, and people stay themselves from camera to camera."""

import numpy as np
import pytest

from passerby.data.synthetic import SyntheticDomain, contact_sheet
from passerby.errors import PasserbyError


def test_same_seed_same_bytes_other_seed_other_bytes() -> None:
    index = np.arange(40)
    first = SyntheticDomain("sunny-plaza", 12, seed=3).render(index)
    assert first.shape == (40, 128, 64, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, SyntheticDomain("sunny-plaza", 12, seed=3).render(index))
    other = SyntheticDomain("sunny-plaza", 12, seed=4).render(index)
    assert np.abs(first.astype(int) - other).mean() > 10


def test_a_picture_is_the_same_alone_in_a_batch_and_on_threads() -> None:
    data = SyntheticDomain("rainy-night", 30)
    index = np.random.default_rng(0).permutation(len(data))[:70]
    images = data.render(index, workers=2)
    np.testing.assert_array_equal(data.render([int(index[37])])[0], images[37])
    np.testing.assert_array_equal(data.render(index[::-1]), images[::-1])


def test_every_person_is_seen_by_two_cameras_or_more() -> None:
    data = SyntheticDomain("indoor-mall", 200, images_per_camera=3)
    assert len(data) == len(data.identity) == len(data.camera)
    pairs, counts = np.unique(np.stack([data.identity, data.camera]), axis=1, return_counts=True)
    assert set(counts) == {3}
    assert np.bincount(pairs[0], minlength=200).min() >= 2
    assert set(data.camera) == set(range(6))


def test_people_stay_themselves_across_cameras() -> None:
    data = SyntheticDomain("sunny-plaza", 60, seed=1)
    images = data.render(np.arange(len(data)), workers=2) / 255
    torso = images[:, 28:60, 24:40].mean(axis=(1, 2))
    gap = np.linalg.norm(torso[:, None] - torso[None], axis=2)
    same = data.identity[:, None] == data.identity[None]
    other_camera = data.camera[:, None] != data.camera[None]
    assert gap[same & other_camera].mean() < 0.55 * gap[~same & other_camera].mean()


def test_pictures_are_neither_empty_nor_alike() -> None:
    data = SyntheticDomain("old-parking", 40)
    images = data.render(np.arange(64)).astype(float)
    assert images.std(axis=(1, 2, 3)).min() > 5
    assert np.abs(images[1:] - images[:-1]).mean(axis=(1, 2, 3)).min() > 3


def test_other_sizes() -> None:
    assert SyntheticDomain("snowy-street", 3, size=(256, 128)).render([0, 5]).shape == (2, 256, 128, 3)
    assert SyntheticDomain("snowy-street", 3).render([]).shape == (0, 128, 64, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"identities": 0}, "identities=0 of synthetic domain 'neutral': must be at least 1"),
        ({"identities": 3, "images_per_camera": 0}, "images_per_camera=0"),
        ({"identities": 3, "seed": -1}, "seed=-1"),
        ({"identities": 3, "size": (8, 64)}, "height=8"),
    ],
)
def test_bad_numbers(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(PasserbyError, match=message):
        SyntheticDomain("neutral", **arguments)  # type: ignore[arg-type]


def test_unknown_domain_and_picture() -> None:
    with pytest.raises(PasserbyError, match="did you mean 'foggy-campus'"):
        SyntheticDomain("fogy-campus", 3)
    data = SyntheticDomain("neutral", 1)
    for wrong in (-1, len(data)):
        with pytest.raises(PasserbyError, match=f"picture {wrong} "):
            data.render([0, wrong])


def test_contact_sheet() -> None:
    sheet = contact_sheet(["neutral", "snowy-street"], people=2, pictures=3)
    assert sheet.size == (2 * (3 * 64 + 8), 2 * (128 + 14 + 4))
    data = SyntheticDomain("snowy-street", 2, images_per_camera=3)
    np.testing.assert_array_equal(np.asarray(sheet)[160:288, :64], data.render([0])[0])
    with pytest.raises(PasserbyError, match="at least 1"):
        contact_sheet([])
