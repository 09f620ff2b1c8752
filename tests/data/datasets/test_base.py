from pathlib import Path

import pytest

from passerby.data.datasets import DATASETS, Listing
from passerby.data.datasets.base import image_files, image_names
from passerby.data.datasets.viper import Viper
from passerby.data.sample import Sample
from passerby.errors import PasserbyError


def test_image_names_are_sorted_and_pass_over_what_is_hidden_or_no_image(tree) -> None:
    root = tree("b.JPG", "a.png", ".c.jpg", "notes.txt", "Thumbs.db", "sub/d.bmp", "sub/.e/f.jpg")
    assert image_names(root) == ["a.png", "b.JPG"]
    assert image_names(root, recursive=True) == ["a.png", "b.JPG", "sub/d.bmp"]
    assert image_files(root, recursive=True) == [root / "a.png", root / "b.JPG", root / "sub" / "d.bmp"]


def test_listing_counts_a_file_in_two_parts_once() -> None:
    one, two = (Sample(Path(f"{n}.jpg"), n, 1, "x") for n in (1, 2))
    assert Listing({"query": (one,), "gallery": (two, one)}).samples == (one, two)


def test_samples_are_sorted_by_path_whatever_the_disk_says(tree) -> None:
    root = tree(*(f"viper/VIPeR/cam_a/{n:03d}_0.bmp" for n in (5, 1, 9, 0)))
    (part,) = Viper().scan(root).parts.values()
    assert [sample.identity for sample in part] == [0, 1, 5, 9]


def test_misfits_are_listed_and_not_fatal(tree) -> None:
    root = tree("viper/VIPeR/cam_a/000_45.bmp", "viper/VIPeR/cam_a/portrait.bmp", "viper/VIPeR/cam_b/0_x.jpg")
    listing = Viper().scan(root)
    assert listing.misfits == ("cam_a/portrait.bmp", "cam_b/0_x.jpg")
    assert [sample.image.name for sample in listing.samples] == ["000_45.bmp"]


def test_a_missing_data_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(PasserbyError, match=r"no data root .*nowhere; point --data-root"):
        Viper().scan(tmp_path / "nowhere")


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS.keys())
def test_a_missing_folder_is_named_in_one_line(dataset, tmp_path: Path) -> None:
    with pytest.raises(PasserbyError, match=dataset.folders[0]) as error:
        dataset.scan(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS.keys())
def test_an_empty_folder_is_an_error_that_says_what_belongs_there(dataset, tmp_path: Path) -> None:
    (tmp_path / dataset.folders[0]).mkdir(parents=True)
    with pytest.raises(PasserbyError, match=f"^{dataset.name}: "):
        dataset.scan(tmp_path)


def test_another_layout_is_an_error_that_says_the_official_one(tree) -> None:
    with pytest.raises(PasserbyError, match="laid out otherwise; it should hold the folders cam_a and cam_b"):
        Viper().scan(tree("viper/VIPeR/camera1/000_45.bmp"))


def test_names_that_never_parse_are_an_error_that_shows_an_official_name(tree) -> None:
    with pytest.raises(PasserbyError, match=r"not one of 2 image names .* cam_a/x.bmp; official names are like 000_45"):
        Viper().scan(tree("viper/VIPeR/cam_a/x.bmp", "viper/VIPeR/cam_b/y.bmp"))


def test_most_datasets_have_nothing_to_prepare(tmp_path: Path) -> None:
    with pytest.raises(PasserbyError, match="viper: nothing to prepare"):
        Viper().prepare(tmp_path)


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS.keys())
def test_every_dataset_says_what_it_is(dataset) -> None:
    assert dataset.title
    assert dataset.reference
    assert dataset.published
    assert dataset.domain in DATASETS
