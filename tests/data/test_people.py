"""Identities as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerby.data.people import people_of, read_people, write_people
from passerby.data.sample import Sample


@given(st.sets(st.integers(0, 300)))
def test_what_is_written_is_read(identities: set[int]) -> None:
    assert read_people(write_people(identities)) == identities


def test_runs_are_short() -> None:
    assert write_people(range(1, 1502)) == "1-1501"
    assert write_people([3, 1, 2, 7, 7]) == "1-3, 7"
    assert write_people([]) == ""


@pytest.mark.parametrize("text", ["1-", "a", "1,2", "-1"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no identity"):
        read_people(text)


def test_distractors_are_nobody_and_parts_of_a_dataset_are_one(tmp_path: object) -> None:
    samples = [
        Sample(None, 1, None, "a/x"),
        Sample(None, 2, None, "a"),
        Sample(None, -1, None, "a"),
        Sample(None, 1, 0, "b"),
    ]  # type: ignore[arg-type]
    assert people_of(samples) == {"a": {1, 2}, "b": {1}}
