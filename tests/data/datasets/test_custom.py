from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerby.data.datasets import CustomDataset, check, custom_dataset, get_dataset, source_samples
from passerby.data.datasets.custom import camera_in
from passerby.data.sample import DISTRACTOR
from passerby.errors import PasserbyError


def test_a_folder_per_identity(tree) -> None:
    root = tree(
        "lobby/anna/cam1_0001.jpg",
        "lobby/anna/x_c2s1_0002.png",
        "lobby/bob/0003.jpg",
        "lobby/bob/c3/0004.jpg",
        "lobby/-1/c1_0005.jpg",
        "lobby/.cache/0006.jpg",
        "lobby/plan.png",
    )
    listing = custom_dataset("lobby", root / "lobby").scan(root)
    assert [(s.identity, s.camera, s.domain) for s in listing.parts["all"]] == [
        (DISTRACTOR, 1, "lobby"),
        (0, 1, "lobby"),
        (0, 2, "lobby"),
        (1, None, "lobby"),
        (1, 3, "lobby"),
    ]
    assert listing.misfits == ("plan.png",)
    assert all(sample.image.is_file() for sample in listing.samples)


def test_market_folders(tree) -> None:
    root = tree(
        "site/bounding_box_train/2_c12_a.jpg",
        "site/query/0003_c1s1_000001_00.jpg",
        "site/bounding_box_test/0000_c2s1_000001_00.jpg",
        "site/bounding_box_test/-1_c2s1_000001_00.jpg",
        "site/bounding_box_test/0003_c2s1_000001_00.jpg",
    )
    parts = custom_dataset("site", root / "site").scan(root).parts
    found = {part: [(s.identity, s.camera) for s in samples] for part, samples in parts.items()}
    assert found == {"train": [(2, 12)], "query": [(3, 1)], "gallery": [(DISTRACTOR, 2), (3, 2)]}


def test_market_names_in_one_folder(tree) -> None:
    root = tree("site/0002_c1s1_000001_00.jpg", "site/0007_c2s1_000001_00.jpg", "site/odd.jpg", "site/more/0_c1.jpg")
    listing = custom_dataset("site", root / "site").scan(root)
    assert [(s.identity, s.camera) for s in listing.parts["all"]] == [(2, 1), (7, 2)]
    assert listing.misfits == ("odd.jpg", "more/0_c1.jpg")


@pytest.mark.parametrize(
    ("path", "camera"),
    [
        ("c2.jpg", 2),
        ("0001_c1s3_000002_00.jpg", 1),
        ("cam_04/0001.jpg", 4),
        ("a-Cam12-b.jpg", 12),
        ("pic3.jpg", None),
        ("31c12a.jpg", None),
        ("0001.jpg", None),
        ("abc4.jpg", None),
    ],
)
def test_cameras_in_paths(path: str, camera: int | None) -> None:
    assert camera_in(PurePosixPath(path)) == camera


@given(st.integers(0, 999), st.sampled_from(["c{}", "cam{}", "x_c{}s1_7", "7-cam{}", "cam{}/7", "7.c{}.x"]))
def test_a_camera_is_found_wherever_it_is_a_word(camera: int, pattern: str) -> None:
    assert camera_in(PurePosixPath(f"{pattern.format(camera)}.jpg")) == camera


def test_the_data_root_does_not_matter(tree) -> None:
    root = tree("lobby/anna/1.jpg", "lobby/bob/2.jpg")
    dataset = get_dataset(f"lobby={root / 'lobby'}")
    assert dataset.scan(Path("/nowhere")) == dataset.scan(root)
    assert dataset.folder(Path("/nowhere")) == root / "lobby"
    assert len(source_samples(dataset, root, "all")) == 2
    report = check(dataset, root)
    assert [(count.part, count.identities, count.cameras, count.agrees) for count in report.parts] == [
        ("all", 2, None, None)
    ]


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a/b"])
def test_names_are_plain_words(name: str) -> None:
    with pytest.raises(PasserbyError, match="the name may have letters"):
        CustomDataset(name, Path("x"))


def test_errors(tree) -> None:
    root = tree("splits/train/anna/1.jpg", "splits/query/anna/2.jpg", "flat/a.jpg", "notes/readme.txt")
    for folder, message in {
        "absent": "no folder or table .*absent",
        "splits": r"holds splits \(query, train\), not a folder per identity",
        "flat": "not one of 1 image names .* official names are like 0002_c1s1",
        "notes": "no labelled image",
    }.items():
        with pytest.raises(PasserbyError, match=message) as error:
            custom_dataset("mine", root / folder).scan(root)
        assert "\n" not in str(error.value)
