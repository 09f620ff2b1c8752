from hypothesis import given
from hypothesis import strategies as st

from passerby.data.datasets import DATASETS
from passerby.data.datasets.viper import NAME


def test_official_layout(tree) -> None:
    root = tree(
        "viper/VIPeR/cam_a/000_45.bmp",
        "viper/VIPeR/cam_a/873_0.bmp",
        "viper/VIPeR/cam_b/000_135.bmp",
        "viper/VIPeR/cam_b/873_180.bmp",
    )
    parts = DATASETS["viper"].scan(root).parts
    found = {part: [(s.identity, s.camera) for s in samples] for part, samples in parts.items()}
    assert found == {"cam_a": [(0, 1), (873, 1)], "cam_b": [(0, 2), (873, 2)]}


@given(st.integers(0, 999), st.integers(0, 180))
def test_names(person: int, angle: int) -> None:
    match = NAME.fullmatch(f"{person:03d}_{angle}")
    assert match is not None
    assert int(match[1]) == person
