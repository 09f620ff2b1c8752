import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerby.data.datasets import DATASETS
from passerby.data.datasets.randperson import NAME, labels


@pytest.mark.parametrize("folder", ["randperson/randperson_subset", "randperson_subset", "randperson/subset"])
def test_official_layout(tree, folder: str) -> None:
    root = tree(f"{folder}/000000_s00_c00_f000264.jpg", f"{folder}/007999_s10_c03_f001632.jpg")
    listing = DATASETS["randperson"].scan(root)
    assert [(s.identity, s.camera) for s in listing.parts["train"]] == [(0, 0), (7999, 1003)]


@given(st.integers(0, 7999), st.integers(0, 10), st.integers(0, 3), st.integers(0, 999_999))
def test_both_orders_of_scene_and_camera(person: int, scene: int, camera: int, frame: int) -> None:
    for middle in (f"s{scene:02d}_c{camera:02d}", f"c{camera:02d}_s{scene:02d}"):
        match = NAME.fullmatch(f"{person:06d}_{middle}_f{frame:06d}")
        assert match is not None
        assert labels(match) == (person, 100 * scene + camera)
