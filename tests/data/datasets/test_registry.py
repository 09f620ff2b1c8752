from pathlib import Path

import pytest

from passerby.data.datasets import DATASETS, CustomDataset, custom_dataset, get_dataset
from passerby.errors import PasserbyError


def test_datasets_are_found_by_the_names_of_the_documentation() -> None:
    names = "market1501 market1501-500k msmt17 cuhk01 cuhk02 cuhk03 cuhk03-labeled cuhk-sysu dukemtmcreid randperson"
    assert set(DATASETS) == {*names.split(), "viper", "prid", "grid", "ilids"}
    assert all(get_dataset(name).name == name for name in DATASETS)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(PasserbyError, match=r"no dataset 'vipr': did you mean 'viper'\?"):
        get_dataset("vipr")


def test_custom_data_by_name_and_path() -> None:
    dataset = get_dataset("lobby=/data/a=b")
    assert isinstance(dataset, CustomDataset)
    assert (dataset.name, dataset.domain, dataset.path) == ("lobby", "lobby", Path("/data/a=b"))


@pytest.mark.parametrize("name", ["market1501", "cuhk03-labeled"])
def test_custom_data_does_not_take_the_name_of_a_public_dataset(name: str) -> None:
    with pytest.raises(PasserbyError, match="is a public dataset's name; choose another"):
        custom_dataset(name, Path("x"))
