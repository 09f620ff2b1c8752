import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerby.data.datasets import DATASETS
from passerby.data.datasets.cuhk02 import NAME, labels
from passerby.errors import PasserbyError


def test_official_layout(tree) -> None:
    root = tree(
        *(f"cuhk02/Dataset/P{p}/cam{c}/001_{n}.png" for p in (1, 5) for c in (1, 2) for n in (1, 2)),
        "cuhk02/Dataset/P1/cam3/001_1.png",
    )
    listing = DATASETS["cuhk02"].scan(root)
    assert list(listing.parts) == ["all"]
    # Person 1 of pair 1 is not person 1 of pair 5.
    assert sorted({(s.identity, s.camera) for s in listing.samples}) == [
        (10_001, 1),
        (10_001, 2),
        (50_001, 9),
        (50_001, 10),
    ]
    assert len(listing.samples) == 8
    assert listing.misfits == ("P1/cam3/001_1.png",)


def test_without_its_pairs_it_is_another_layout(tree) -> None:
    with pytest.raises(PasserbyError, match="the folders P1 to P5"):
        DATASETS["cuhk02"].scan(tree("cuhk02/Dataset/001_1.png"))


@given(st.integers(1, 5), st.integers(1, 2), st.integers(1, 971))
def test_people_and_cameras_of_different_pairs_never_meet(pair: int, camera: int, person: int) -> None:
    match = NAME.fullmatch(f"P{pair}/cam{camera}/{person:03d}_1")
    assert match is not None
    identity, number = labels(match)
    assert divmod(identity, 10_000) == (pair, person)
    assert number is not None
    assert divmod(number - 1, 2) == (pair - 1, camera - 1)
