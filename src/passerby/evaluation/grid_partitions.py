"""GRID's official partitions, where its .mat lies beside the images."""

from pathlib import Path

import numpy as np

from passerby.errors import PasserbyError
from passerby.evaluation.splits import N_SPLITS, PEOPLE, TEST_PEOPLE, StoredSplits

FILE = "features_and_partitions.mat"


def official_partitions(folder: Path) -> StoredSplits | None:
    """The ten official partitions of GRID, or None where `folder` has no features_and_partitions.mat.

    Its `trainIdxAll` holds a struct a partition, whose third field lists the 125 people who train; the others are
    queries.

    Raises:
        PasserbyError: when the file is there but does not hold that.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    from scipy.io import loadmat

    everybody = set(PEOPLE["grid"])
    try:
        partitions = loadmat(file, variable_names=["trainIdxAll"])["trainIdxAll"].ravel()
        train = [{int(person) for person in np.ravel(partition.item()[2])} for partition in partitions]
    except Exception as error:  # scipy raises whatever a damaged file makes it stumble over
        raise _damaged(file) from error
    size = TEST_PEOPLE["grid"]
    if len(train) != N_SPLITS or any(len(people) != size or not people < everybody for people in train):
        raise _damaged(file)
    return StoredSplits(target="grid-official", people=tuple(tuple(sorted(everybody - people)) for people in train))


def _damaged(file: Path) -> PasserbyError:
    return PasserbyError(
        f"grid: {file} does not hold {N_SPLITS} official partitions with {TEST_PEOPLE['grid']} training people each; "
        "unpack it again, or remove it to take the splits of this package"
    )
