from hypothesis import given
from hypothesis import strategies as st

from passerby.data.datasets import DATASETS
from passerby.data.datasets.dukemtmcreid import NAME, labels

ROOT = "dukemtmc-reid/DukeMTMC-reID"


def test_official_layout(tree) -> None:
    root = tree(
        f"{ROOT}/bounding_box_train/0001_c2_f0046182.jpg",
        f"{ROOT}/query/0005_c2_f0046985.jpg",
        f"{ROOT}/bounding_box_test/0005_c5_f0051781.jpg",
        f"{ROOT}/bounding_box_test/7139_c2_f0160815.jpg",
    )
    listing = DATASETS["dukemtmcreid"].scan(root)
    found = {part: [(s.identity, s.camera) for s in samples] for part, samples in listing.parts.items()}
    assert found == {"train": [(1, 2)], "query": [(5, 2)], "gallery": [(5, 5), (7139, 2)]}


def test_it_says_that_it_is_retracted_and_why() -> None:
    warning = DATASETS["dukemtmcreid"].warning
    assert warning is not None
    assert "retracted" in warning
    assert "without their consent" in warning


@given(st.integers(1, 9999), st.integers(1, 8), st.integers(0, 9_999_999))
def test_names(identity: int, camera: int, frame: int) -> None:
    match = NAME.fullmatch(f"{identity:04d}_c{camera}_f{frame:07d}")
    assert match is not None
    assert labels(match) == (identity, camera)
