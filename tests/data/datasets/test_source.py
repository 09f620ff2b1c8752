import pytest

from passerby.data.datasets import DATASETS, source_samples
from passerby.errors import PasserbyError

ROOT = "market1501/Market-1501-v15.09.15"


def test_all_is_every_folder_without_junk_and_distractors(tree) -> None:
    root = tree(
        f"{ROOT}/bounding_box_train/0002_c1s1_000451_03.jpg",
        f"{ROOT}/query/0001_c1s1_001051_00.jpg",
        f"{ROOT}/bounding_box_test/-1_c1s1_000401_03.jpg",
        f"{ROOT}/bounding_box_test/0000_c4s6_027646_08.jpg",
        f"{ROOT}/bounding_box_test/0001_c2s1_000301_00.jpg",
    )
    market = DATASETS["market1501"]
    assert [s.image.name for s in source_samples(market, root, "all")] == [
        "0002_c1s1_000451_03.jpg",
        "0001_c1s1_001051_00.jpg",
        "0001_c2s1_000301_00.jpg",
    ]
    assert [s.image.name for s in source_samples(market, root, "train")] == ["0002_c1s1_000451_03.jpg"]


def test_without_a_training_part_the_error_names_all(tree) -> None:
    root = tree("viper/VIPeR/cam_a/000_45.bmp")
    assert len(source_samples(DATASETS["viper"], root, "all")) == 1
    with pytest.raises(PasserbyError, match="viper: no training part among cam_a; train on 'all'"):
        source_samples(DATASETS["viper"], root, "train")


def test_distractors_alone_are_nothing_to_train_on(tree) -> None:
    root = tree(f"{ROOT}/bounding_box_test/0000_c4s6_027646_08.jpg")
    with pytest.raises(PasserbyError, match="market1501: nothing to train on"):
        source_samples(DATASETS["market1501"], root, "all")
