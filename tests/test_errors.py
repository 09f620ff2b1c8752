"""Hints about unknown names."""

from passerby.errors import PasserbyError, first_of, nearest


def test_nearest_names_the_nearest() -> None:
    assert nearest("vipr", ["prid", "viper", "market1501"]) == "did you mean 'viper'?"


def test_nearest_lists_all_sorted_when_none_is_near() -> None:
    assert nearest("xyz", ["viper", "grid"]) == "known: grid, viper"


def test_nearest_takes_any_iterable_once() -> None:
    assert nearest("grit", iter(["viper", "grid"])) == "did you mean 'grid'?"


def test_the_error_is_its_message() -> None:
    assert str(PasserbyError("what: where; how to mend")) == "what: where; how to mend"


def test_the_first_of_many_names_and_how_many_more() -> None:
    assert first_of(["a", "b"]) == first_of(["a", "b"], 2) == "a, b"
    assert first_of([*"abcd"], 2) == "a, b and 2 more"
    assert first_of([]) == ""
