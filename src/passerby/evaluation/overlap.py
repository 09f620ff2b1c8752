"""No image and no person may be trained on and measured on at once."""

import os
from collections.abc import Iterable, Mapping
from functools import cache

from passerby.data.datasets import DATASETS
from passerby.data.people import people_of
from passerby.data.sample import Sample
from passerby.errors import PasserbyError


def check_disjoint(sources: Iterable[Sample], targets: Iterable[Sample]) -> None:
    """Refuses targets that share a file, or a person of the same dataset, with the sources.

    Files are compared with all links resolved. Distractors are nobody.

    Raises:
        PasserbyError: naming the first that is shared, and how many are.
    """
    trained, measured = list(sources), list(targets)
    files = set(_resolved(trained))
    shared_files = [s for s, file in zip(measured, _resolved(measured), strict=True) if file in files]
    if shared_files:
        raise PasserbyError(
            f"{shared_files[0].domain}: {shared_files[0].image} is in a source and in a target at once "
            f"({len(shared_files)} files in all); leave the one or the other out"
        )
    check_people(people_of(trained), measured)


def check_people(trained: Mapping[str, set[int]], targets: Iterable[Sample]) -> None:
    """Refuses targets with a person who was trained on, or of a dataset that shows the people of one trained on.

    Args:
        trained: identities by dataset.
        targets: what is measured on.

    Raises:
        PasserbyError: naming the first who is shared, and how many are.
    """
    for dataset, identities in people_of(targets).items():
        shared = sorted(identities & trained.get(dataset, set()))
        if shared:
            raise PasserbyError(
                f"{dataset}: person {shared[0]} is in a source and in a target at once ({len(shared)} people in all); "
                "train on its train part alone (data.images=train), or leave the one or the other out"
            )
        same_people = DATASETS[dataset].same_people if dataset in DATASETS else frozenset()
        for other in sorted(same_people & trained.keys()):
            raise PasserbyError(
                f"{dataset}: shows people of {other}, which was trained on; leave the one or the other out"
            )


def _resolved(samples: list[Sample]) -> list[str]:
    """Files with links resolved; a folder is resolved once for all its files, which is several times as fast."""
    real_folder = cache(os.path.realpath)
    files = []
    for path in (str(sample.image) for sample in samples):
        folder, name = os.path.split(path)
        files.append(os.path.realpath(path) if os.path.islink(path) else f"{real_folder(folder)}/{name}")  # noqa: PTH114
    return files
