"""No image and no person may be trained on and measured on at once."""

import os
from collections.abc import Iterable
from functools import cache

from passerby.data.sample import DISTRACTOR, Sample
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
    people = {(s.domain, s.identity) for s in trained if s.identity != DISTRACTOR}
    shared_people = list(dict.fromkeys((s.domain, s.identity) for s in measured if (s.domain, s.identity) in people))
    if shared_people:
        domain, identity = shared_people[0]
        raise PasserbyError(
            f"{domain}: person {identity} is in a source and in a target at once ({len(shared_people)} people in all); "
            "train on its train part alone (data.images=train), or leave the one or the other out"
        )


def _resolved(samples: list[Sample]) -> list[str]:
    """Files with links resolved; a folder is resolved once for all its files, which is several times as fast."""
    real_folder = cache(os.path.realpath)
    files = []
    for path in (str(sample.image) for sample in samples):
        folder, name = os.path.split(path)
        files.append(os.path.realpath(path) if os.path.islink(path) else f"{real_folder(folder)}/{name}")  # noqa: PTH114
    return files
