"""The datasets by name. A new one is one file with a `Dataset` in it, and one line here."""

from pathlib import Path

from passerby.data.datasets.base import Dataset
from passerby.data.datasets.cuhk01 import Cuhk01
from passerby.data.datasets.cuhk02 import Cuhk02
from passerby.data.datasets.cuhk03 import Cuhk03, Cuhk03Labeled
from passerby.data.datasets.cuhk_sysu import CuhkSysu
from passerby.data.datasets.custom import CustomDataset
from passerby.data.datasets.dukemtmcreid import DukeMtmcReid
from passerby.data.datasets.grid import Grid
from passerby.data.datasets.ilids import Ilids
from passerby.data.datasets.market1501 import Market1501, Market1501Distractors
from passerby.data.datasets.msmt17 import Msmt17
from passerby.data.datasets.prid import Prid
from passerby.data.datasets.randperson import RandPerson
from passerby.data.datasets.viper import Viper
from passerby.errors import PasserbyError, nearest

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Market1501(),
        Market1501Distractors(),
        Msmt17(),
        Cuhk01(),
        Cuhk02(),
        Cuhk03(),
        Cuhk03Labeled(),
        CuhkSysu(),
        DukeMtmcReid(),
        RandPerson(),
        Viper(),
        Prid(),
        Grid(),
        Ilids(),
    )
}


def get_dataset(name: str) -> Dataset:
    """The dataset of that name, or, for `name=path`, custom data.

    Raises:
        PasserbyError: when the name is unknown, or custom data takes the name of a public dataset.
    """
    custom_name, equals, path = name.partition("=")
    if equals:
        return custom_dataset(custom_name, Path(path))
    if name not in DATASETS:
        raise PasserbyError(f"no dataset '{name}': {nearest(name, DATASETS)} (custom data is name=path)")
    return DATASETS[name]


def custom_dataset(name: str, path: Path) -> CustomDataset:
    """Custom data: a folder per identity, Market-style names or a table; see `CustomDataset`.

    Raises:
        PasserbyError: when the name is taken, empty or not a plain word.
    """
    taken = {*DATASETS, *(dataset.domain for dataset in DATASETS.values())}
    if name in taken:
        raise PasserbyError(f"custom data '{name}={path}': {name} is a public dataset's name; choose another")
    return CustomDataset(name, path)
