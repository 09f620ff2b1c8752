from hypothesis import given
from hypothesis import strategies as st

from passerby.data.datasets import DATASETS
from passerby.data.datasets.cuhk01 import NAME, labels


def test_official_layout(tree) -> None:
    root = tree(*(f"cuhk01/campus/{person:04d}{view:03d}.png" for person in (1, 971) for view in (1, 2, 3, 4)))
    listing = DATASETS["cuhk01"].scan(root)
    assert list(listing.parts) == ["all"]
    assert [(s.identity, s.camera) for s in listing.samples] == [
        (1, 1), (1, 1), (1, 2), (1, 2), (971, 1), (971, 1), (971, 2), (971, 2),
    ]  # fmt: skip


@given(st.integers(0, 9999), st.integers(0, 999))
def test_names(person: int, view: int) -> None:
    match = NAME.fullmatch(f"{person:04d}{view:03d}")
    assert (match is not None) == (view in {1, 2, 3, 4})
    if match is not None:
        assert labels(match) == (person, 1 if view < 3 else 2)
