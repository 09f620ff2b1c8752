from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerby.data.datasets import DATASETS, source_samples
from passerby.data.datasets.msmt17 import LINE
from passerby.errors import PasserbyError

TRAIN = ("0000/0000_000_01_0303morning_0008_0.jpg", "0001/0001_000_05_0303noon_0100_1.jpg")
VAL = ("0000/0000_050_14_0303morning_0010_0.jpg",)
QUERY = ("0000/0000_003_03_0302afternoon_0500_2.jpg",)
GALLERY = ("0000/0000_009_15_0302afternoon_0501_0.jpg", "0007/0007_001_02_0113noon_0020_0_ex.jpg")


def write(root: Path, version: str, train: str, test: str) -> None:
    folder = root / "msmt17" / version
    for part, names in {"train": TRAIN, "val": VAL, "query": QUERY, "gallery": GALLERY}.items():
        images = folder / (train if part in {"train", "val"} else test)
        for name in names:
            (images / name).parent.mkdir(parents=True, exist_ok=True)
            (images / name).touch()
        lines = (f"{name} {int(name[:4])}\n" for name in names)
        (folder / f"list_{part}.txt").write_text("".join(lines))


@pytest.mark.parametrize(
    ("version", "train", "test"), [("MSMT17_V1", "train", "test"), ("MSMT17_V2", "mask_train_v2", "mask_test_v2")]
)
def test_both_versions(tmp_path: Path, version: str, train: str, test: str) -> None:
    write(tmp_path, version, train, test)
    listing = DATASETS["msmt17"].scan(tmp_path)
    found = {part: [(s.identity, s.camera) for s in samples] for part, samples in listing.parts.items()}
    # People of the test are counted from 0 again on disk; here they come after the 1,041 of the training part.
    assert found == {
        "train": [(0, 1), (1, 5)],
        "val": [(0, 14)],
        "query": [(1041, 3)],
        "gallery": [(1041, 15), (1048, 2)],
    }
    assert all(sample.image.is_file() for sample in listing.samples)
    assert listing.misfits == ()


def test_a_source_trains_on_train_and_val_together(tmp_path: Path) -> None:
    write(tmp_path, "MSMT17_V1", "train", "test")
    assert len(source_samples(DATASETS["msmt17"], tmp_path, "train")) == 3
    assert len(source_samples(DATASETS["msmt17"], tmp_path, "all")) == 6


def test_lines_without_an_image_or_a_sense_are_misfits(tmp_path: Path) -> None:
    write(tmp_path, "MSMT17_V1", "train", "test")
    folder = tmp_path / "msmt17" / "MSMT17_V1"
    (folder / "train" / TRAIN[1]).unlink()
    (folder / "list_query.txt").write_text(f"{QUERY[0]} 0\n\nwhat is this\n")
    listing = DATASETS["msmt17"].scan(tmp_path)
    assert listing.misfits == (
        f"train/{TRAIN[1]} (named in list_train.txt, not there)",
        "list_query.txt line 3: what is this",
    )
    assert len(listing.parts["train"]) == len(listing.parts["query"]) == 1


def test_folders_without_lists_are_another_layout(tree) -> None:
    with pytest.raises(PasserbyError, match=r"laid out otherwise; .* list_train.txt"):
        DATASETS["msmt17"].scan(tree(f"msmt17/MSMT17_V1/train/{TRAIN[0]}"))


@given(st.integers(0, 4100), st.integers(0, 999), st.integers(1, 15), st.integers(0, 9999))
def test_lines(identity: int, number: int, camera: int, frame: int) -> None:
    name = f"{identity:04d}/{identity:04d}_{number:03d}_{camera:02d}_0303morning_{frame:04d}_0.jpg"
    match = LINE.fullmatch(f"{name} {identity}")
    assert match is not None
    assert (match[1], int(match[2]), int(match[3])) == (name, camera, identity)
