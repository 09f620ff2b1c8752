"""Who is in a dataset, as text short enough for a card: `1-971, 980`."""

import re
from collections.abc import Iterable

from passerby.data.sample import DISTRACTOR, Sample


def people_of(samples: Iterable[Sample]) -> dict[str, set[int]]:
    """Identities by dataset; distractors are nobody."""
    people: dict[str, set[int]] = {}
    for sample in samples:
        if sample.identity != DISTRACTOR:
            people.setdefault(sample.dataset, set()).add(sample.identity)
    return people


def write_people(identities: Iterable[int]) -> str:
    """Identities (0 or more) as ranges in ascending order.

    >>> write_people([3, 1, 2, 7])
    '1-3, 7'
    """
    ranges: list[list[int]] = []
    for identity in sorted(set(identities)):
        if ranges and ranges[-1][1] == identity - 1:
            ranges[-1][1] = identity
        else:
            ranges.append([identity, identity])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def read_people(text: str) -> set[int]:
    """What `write_people` wrote.

    >>> sorted(read_people("1-3, 7"))
    [1, 2, 3, 7]

    Raises:
        ValueError: when it is no such text.
    """
    identities: set[int] = set()
    for part in filter(None, text.split(", ")):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise ValueError(f"'{part}' is no identity and no range of them")
        identities |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return identities
