"""The stored splits: sizes, no leak, and that they are what the generator gives."""

import json
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerby.errors import PasserbyError
from passerby.evaluation.splits import PEOPLE, StoredSplits, generate, stored_splits, write_stored_splits

SIZES = {"viper": (632, 316), "prid": (200, 100), "grid": (250, 125), "ilids": (119, 60)}
SMALL = sorted(SIZES)


@pytest.mark.parametrize("name", SMALL)
def test_the_stored_files_are_what_the_generator_gives(name: str) -> None:
    assert stored_splits(name) == generate(name)


def test_the_stored_files_are_what_is_written(tmp_path: Path) -> None:
    write_stored_splits(tmp_path)
    packaged = files("passerby.evaluation") / "split_files"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.json" for name in SMALL]
    for path in tmp_path.iterdir():
        assert path.read_text() == (packaged / path.name).read_text()


@pytest.mark.parametrize("name", SMALL)
def test_ten_different_splits_of_the_official_size(name: str) -> None:
    everybody, size = SIZES[name]
    splits = stored_splits(name)
    assert len(set(PEOPLE[name])) == everybody
    assert len(splits.people) == 10
    for people in splits.people:
        assert len(people) == len(set(people)) == size
        assert list(people) == sorted(people)
        assert set(people) <= set(PEOPLE[name])
    for one, other in combinations(splits.people, 2):
        # Two random halves share about half; the same half twice, or its complement, would be no second split.
        assert 0.3 * size < len(set(one) & set(other)) < 0.7 * size


@pytest.mark.parametrize("name", SMALL)
def test_every_person_is_tested_about_half_of_the_time(name: str) -> None:
    everybody, size = SIZES[name]
    times = [sum(person in people for people in stored_splits(name).people) for person in PEOPLE[name]]
    assert sum(times) == 10 * size
    # Binomial(10, 1/2): 1 in 1,024 never, as many always.
    assert sum(time in {0, 10} for time in times) <= 0.02 * everybody


def test_viper_s_people_are_the_official_numbers() -> None:
    people = PEOPLE["viper"]
    assert (people[0], people[-1]) == (0, 873)
    assert {247, 299, 349, 857}.isdisjoint(people)


def test_picks_of_ilids_are_spread_over_the_images() -> None:
    picks = stored_splits("ilids").picks
    assert picks is not None
    numbers = [number for split in picks for pair in split for number in pair]
    assert len(numbers) == 10 * 60 * 2
    assert all(0 <= number < 1 for number in numbers)
    assert all(100 < sum(low / 10 <= number < (low + 1) / 10 for number in numbers) < 140 + 20 for low in range(1, 9))
    assert all(stored_splits(name).picks is None for name in ("viper", "prid", "grid"))


@pytest.mark.parametrize("name", SMALL)
def test_the_id_is_pinned(name: str) -> None:
    # A change here is a change of every published number: it must never happen unseen.
    pinned = {
        "viper": "viper-10-50f5d1",
        "prid": "prid-10-d9f16a",
        "grid": "grid-10-1bf756",
        "ilids": "ilids-10-24a91a",
    }
    assert stored_splits(name).split_id == pinned[name]


@given(st.lists(st.lists(st.integers(0, 999), min_size=1, max_size=4).map(tuple), min_size=1, max_size=4).map(tuple))
def test_text_and_id_hold_everything(people: tuple[tuple[int, ...], ...]) -> None:
    splits = StoredSplits(target="viper", people=people)
    assert StoredSplits.model_validate_json(splits.to_json()) == splits
    assert json.loads(splits.to_json()) == {"target": "viper", "people": [list(row) for row in people]}
    changed = StoredSplits(target="viper", people=((people[0][0] + 1, *people[0][1:]), *people[1:]))
    assert changed.split_id != splits.split_id
    assert splits.split_id.startswith(f"viper-{len(people)}-")


def test_an_unknown_target_is_an_error() -> None:
    for function in (generate, stored_splits):
        with pytest.raises(PasserbyError, match=r"none are stored for 'vipr'; did you mean 'viper'"):
            function("vipr")
