"""GRID's official partitions, from a .mat in the official structure."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from passerby.errors import PasserbyError
from passerby.evaluation.grid_partitions import official_partitions


def write(folder: Path, train: list[list[int]], key: str = "trainIdxAll") -> None:
    """A cell array 1 x 10 of structs, the third field of which lists people."""
    cells = np.empty((1, len(train)), dtype=object)
    for index, people in enumerate(train):
        struct: dict[str, Any] = {"gallery": np.arange(3), "probe": np.arange(3), "person": np.array([people])}
        cells[0, index] = struct
    savemat(folder / "features_and_partitions.mat", {key: cells})


def halves() -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.permutation(np.arange(1, 251))[:125].tolist() for _ in range(10)]


def test_those_who_do_not_train_are_searched_for(tmp_path: Path) -> None:
    train = halves()
    write(tmp_path, train)
    partitions = official_partitions(tmp_path)
    assert partitions is not None
    assert partitions.people == tuple(tuple(p for p in range(1, 251) if p not in people) for people in train)
    assert partitions.split_id.startswith("grid-official-10-")


def test_without_the_file_there_are_none(tmp_path: Path) -> None:
    assert official_partitions(tmp_path) is None


@pytest.mark.parametrize("damage", ["bytes", "other key", "nine", "short", "strangers"])
def test_a_damaged_file_is_one_line(tmp_path: Path, damage: str) -> None:
    train = halves()
    if damage == "bytes":
        (tmp_path / "features_and_partitions.mat").write_bytes(b"<html>not found</html>" * 20)
    elif damage == "other key":
        write(tmp_path, train, key="idx")
    elif damage == "nine":
        write(tmp_path, train[:9])
    elif damage == "short":
        write(tmp_path, [*train[:9], train[9][:124]])
    else:
        write(tmp_path, [*train[:9], [*train[9][:124], 251]])
    with pytest.raises(PasserbyError, match=r"features_and_partitions.mat does not hold 10 .* remove it") as error:
        official_partitions(tmp_path)
    assert "\n" not in str(error.value)
