"""The ten splits of each small target: drawn once, stored in the package, the same on every machine.

The stored files are the truth. `generate` is how they were made: the keys of the n people are the next n raw 64-bit
words of numpy's PCG64, whose stream numpy guarantees to stay the same, and the people with the smallest keys are the
test people.
"""

import hashlib
import json
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from passerby.errors import PasserbyError, nearest
from passerby.files import write_text

N_SPLITS = 10
SEED = 0
STEPS = 1_000_000
"""The numbers that pick images are multiples of 1 / STEPS, so that JSON holds them exactly."""

_VIPER_RUNS = (
    *((0, 246), (300, 348), (350, 351), (353, 355), (357, 362), (364, 395), (500, 529), (531, 558), (560, 585)),
    *((587, 601), (603, 643), (645, 662), (664, 664), (666, 667), (669, 680), (682, 687), (689, 690), (692, 693)),
    *((696, 703), (705, 709), (711, 711), (713, 717), (720, 726), (728, 729), (731, 738), (740, 741), (800, 809)),
    *((811, 856), (858, 873)),
)
"""First and last of each run of consecutive numbers among VIPeR's file names."""

PEOPLE: dict[str, tuple[int, ...]] = {
    "viper": tuple(person for first, last in _VIPER_RUNS for person in range(first, last + 1)),
    "prid": tuple(range(1, 201)),
    "grid": tuple(range(1, 251)),
    "ilids": tuple(range(1, 120)),
}
"""The people that are searched for, by target, as the official file names number them."""

TEST_PEOPLE = {"viper": 316, "prid": 100, "grid": 125, "ilids": 60}
"""How many of them each split searches for."""


class StoredSplits(BaseModel):
    """The splits of one target in terms of official identities, without a single image.

    Attributes:
        target: name of the target.
        people: per split, the identities that are queries, ascending.
        picks: per split and person, two numbers u, v in [0, 1) that pick two of the person's n images in the order of
            their names: the query is image floor(u n), the gallery's is image floor(v (n - 1)) of the rest. None where
            each person has one image a camera.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    people: tuple[tuple[int, ...], ...]
    picks: tuple[tuple[tuple[float, float], ...], ...] | None = None

    @property
    def split_id(self) -> str:
        """Target, number of splits and a hash of what they hold: `viper-10-3f2a9c`."""
        content = json.dumps([self.people, self.picks], separators=(",", ":"))
        return f"{self.target}-{len(self.people)}-{hashlib.sha256(content.encode()).hexdigest()[:6]}"

    def to_json(self) -> str:
        """The text of the stored file, a split a line."""
        fields = [f' "target": {json.dumps(self.target)}', f' "people": {_lines(self.people)}']
        if self.picks is not None:
            fields.append(f' "picks": {_lines(self.picks)}')
        return "{\n" + ",\n".join(fields) + "\n}\n"


def generate(name: str) -> StoredSplits:
    """Draws the splits of a small target anew; gives what is stored.

    Raises:
        PasserbyError: when the target is none of the four.
    """
    _require_small(name)
    words = np.random.PCG64(SEED)
    everybody, size = np.array(PEOPLE[name]), TEST_PEOPLE[name]
    people: list[tuple[int, ...]] = []
    picks: list[tuple[tuple[float, float], ...]] = []
    for _ in range(N_SPLITS):
        keys = words.random_raw(len(everybody))
        people.append(tuple(np.sort(everybody[np.argsort(keys, kind="stable")[:size]]).tolist()))
        if name == "ilids":
            drawn = words.random_raw(2 * size) % np.uint64(STEPS) / STEPS
            picks.append(tuple((u, v) for u, v in drawn.reshape(size, 2).tolist()))
    return StoredSplits(target=name, people=tuple(people), picks=tuple(picks) or None)


@cache
def stored_splits(name: str) -> StoredSplits:
    """The splits of a small target as the package holds them.

    Raises:
        PasserbyError: when the target is none of the four, or its file is damaged.
    """
    _require_small(name)
    file = files("passerby.evaluation") / "split_files" / f"{name}.json"
    try:
        return StoredSplits.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise PasserbyError(f"{name}: its stored splits {file} cannot be read; install passerby again") from error


def write_stored_splits(folder: Path) -> None:
    """Writes the splits of all small targets into a folder, a JSON file each: how the package's own files were made."""
    for name in PEOPLE:
        write_text(folder / f"{name}.json", generate(name).to_json())


def _require_small(name: str) -> None:
    if name not in PEOPLE:
        raise PasserbyError(f"splits: none are stored for '{name}'; {nearest(name, PEOPLE)}")


def _lines(rows: tuple[tuple[object, ...], ...]) -> str:
    return "[\n" + ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in rows) + "\n ]"
