"""CUHK03's classic test sets: who is tested, and in which direction."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from passerby.errors import PasserbyError
from passerby.evaluation.targets import open_target


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three people of pair 1 and one of pair 2, two images of each view; two test sets."""
    images = tmp_path / "cuhk03" / "images_labeled"
    images.mkdir(parents=True)
    for pair, person in ((1, 1), (1, 2), (1, 3), (2, 1)):
        for view, image in ((1, 1), (1, 2), (2, 6), (2, 7)):
            (images / f"{pair}_{person:03d}_{view}_{image:02d}.png").touch()
    release = tmp_path / "cuhk03" / "cuhk03_release" / "cuhk-03.mat"
    release.parent.mkdir()
    with h5py.File(release, "w") as file:
        sets = [
            file.create_dataset(f"set{i}", data=np.array(people, float).T).ref
            for i, people in enumerate(([[1, 1], [2, 1]], [[1, 2], [1, 3]]))
        ]
        file.create_dataset("testsets", data=np.array([sets], dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)
    return tmp_path


def test_test_sets_views_and_single_gallery_shot(root: Path) -> None:
    target = open_target("cuhk03-labeled-classic", root)
    assert target.single_gallery_shot
    assert [{s.identity for s in split.query} for split in target.splits] == [{1001, 2001}, {1002, 1003}]
    for split in target.splits:
        assert {s.image.stem.split("_")[2] for s in split.query} == {"1"}
        assert {s.image.stem.split("_")[2] for s in split.gallery} == {"2"}
        assert (len(split.query), len(split.gallery), len(split.left_over)) == (4, 4, 8)
    assert open_target("cuhk03-classic", root).split_id == "official-labeled-2"


def test_without_the_release(root: Path) -> None:
    (root / "cuhk03" / "cuhk03_release" / "cuhk-03.mat").unlink()
    with pytest.raises(PasserbyError, match=r"cuhk-03\.mat"):
        open_target("cuhk03-classic", root)
