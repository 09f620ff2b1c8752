from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerby.data.datasets import DATASETS, source_samples
from passerby.data.datasets.market1501 import NAME, labels
from passerby.data.sample import DISTRACTOR
from passerby.errors import PasserbyError

ROOT = "market1501/Market-1501-v15.09.15"
OFFICIAL = (
    f"{ROOT}/bounding_box_train/0002_c1s1_000451_03.jpg",
    f"{ROOT}/bounding_box_train/0007_c3s3_077419_03.jpg",
    f"{ROOT}/query/0001_c1s1_001051_00.jpg",
    f"{ROOT}/bounding_box_test/-1_c1s1_000401_03.jpg",
    f"{ROOT}/bounding_box_test/0000_c4s6_027646_08.jpg",
    f"{ROOT}/bounding_box_test/0001_c2s1_000301_00.jpg",
    f"{ROOT}/bounding_box_test/Thumbs.db",
)


def test_official_layout(tree) -> None:
    listing = DATASETS["market1501"].scan(tree(*OFFICIAL))
    found = {part: [(s.identity, s.camera) for s in samples] for part, samples in listing.parts.items()}
    assert found == {"train": [(2, 1), (7, 3)], "query": [(1, 1)], "gallery": [(DISTRACTOR, 4), (1, 2)]}
    assert {sample.domain for sample in listing.samples} == {"market1501"}
    assert listing.misfits == ()


@pytest.mark.parametrize("folder", ["market1501", "Market-1501-v15.09.15"])
def test_other_places(tree, folder: str) -> None:
    listing = DATASETS["market1501"].scan(tree(f"{folder}/bounding_box_train/0002_c1_016620005.jpg"))
    assert [(s.identity, s.camera) for s in listing.parts["train"]] == [(2, 1)]
    assert list(listing.parts) == ["train"]


@given(st.integers(1, 1501), st.integers(1, 6), st.integers(1, 6), st.integers(0, 999_999), st.integers(0, 99))
def test_names_with_a_sequence(identity: int, camera: int, sequence: int, frame: int, box: int) -> None:
    for suffix in ("", ".jpg"):
        match = NAME.fullmatch(f"{identity:04d}_c{camera}s{sequence}_{frame:06d}_{box:02d}{suffix}")
        assert match is not None
        assert labels(match) == (identity, camera)


@given(st.integers(1, 1501), st.integers(1, 6), st.integers(0, 999_999_999))
def test_names_without_a_sequence(identity: int, camera: int, frame: int) -> None:
    match = NAME.fullmatch(f"{identity:04d}_c{camera}_{frame:09d}")
    assert match is not None
    assert labels(match) == (identity, camera)


@given(st.text(alphabet="0123456789_csf-", max_size=24))
def test_a_name_either_parses_into_sensible_labels_or_not_at_all(name: str) -> None:
    match = NAME.fullmatch(name)
    if match is not None and labels(match) is not None:
        identity, camera = labels(match)
        assert identity == DISTRACTOR or 1 <= identity <= 9999
        assert camera is not None
        assert 1 <= camera <= 6
        assert name.startswith(f"{max(identity, 0):04d}_c{camera}")


@pytest.mark.parametrize("name", ["0002_c7s1_000451_03", "2_c1s1_000451_03", "0001_c1_f0046302", "0002c1s1_000451_03"])
def test_names_of_others_do_not_parse(name: str) -> None:
    assert NAME.fullmatch(name) is None


def test_the_distractors_come_by_explicit_name_only(tree) -> None:
    root = tree(*OFFICIAL, f"{ROOT}/images/0000_c2s1_000001_00.jpg", f"{ROOT}/images/1234.jpg")
    plain = DATASETS["market1501"].scan(root)
    full = DATASETS["market1501-500k"].scan(root)
    assert "distractors_500k" not in plain.parts
    assert [(s.identity, s.camera) for s in full.parts["distractors_500k"]] == [(DISTRACTOR, 2), (DISTRACTOR, None)]
    assert full.parts["gallery"] == plain.parts["gallery"] + full.parts["distractors_500k"]
    assert (full.parts["train"], full.parts["query"]) == (plain.parts["train"], plain.parts["query"])
    assert source_samples(DATASETS["market1501-500k"], root, "all") == source_samples(
        DATASETS["market1501"], root, "all"
    )


def test_missing_distractors_are_an_error(tree) -> None:
    with pytest.raises(PasserbyError, match=r"market1501-500k: no distractors in .*images"):
        DATASETS["market1501-500k"].scan(tree(*OFFICIAL))


def test_junk_alone_is_no_dataset(tree) -> None:
    root: Path = tree(f"{ROOT}/bounding_box_test/-1_c1s1_000401_03.jpg")
    with pytest.raises(PasserbyError, match="no labelled image"):
        DATASETS["market1501"].scan(root)
