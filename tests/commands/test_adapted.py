"""How a model is fitted to a place, in words."""

import re

import pytest

from passerby.adaptation import AdaBn, BntaAdaptation
from passerby.commands.adapted import LONGEST, How, record_name
from passerby.errors import PasserbyError


def test_what_a_way_adds_to_the_fit_is_told_and_named() -> None:
    how = How(AdaBn(), unknown="experts", top_k="all")
    assert how.arguments() == ["--adapt", "adabn", "--unknown", "experts", "--top-k", "all"]
    assert record_name("viper", str(how), how.unknown, how.top_k) == "viper+adabn+unknown=experts+top-k=all.json"
    assert record_name("viper", top_k=50) == "viper+top-k=50.json"


@pytest.mark.parametrize(
    ("text", "how", "words", "arguments"),
    [
        ("none", How(), "", []),
        ("camera", How(camera=True), "camera", ["--camera-normalise"]),
        ("adabn", How(AdaBn()), "adabn", ["--adapt", "adabn"]),
        (
            "adabn:weight=0.5 + camera",
            How(AdaBn(weight=0.5), True),
            "adabn:weight=0.5 + camera",
            ["--adapt", "adabn:weight=0.5", "--camera-normalise"],
        ),
        (
            "bnta:lr=1e-3;pairs=64+camera",
            How(BntaAdaptation(lr=1e-3, pairs=64), True),
            "bnta:pairs=64;lr=0.001 + camera",
            ["--adapt", "bnta:pairs=64;lr=0.001", "--camera-normalise"],
        ),
    ],
)
def test_ways_are_read_and_written(text: str, how: How, words: str, arguments: list[str]) -> None:
    assert How.parse(text) == how
    assert str(how) == words
    assert how.arguments() == arguments
    assert how == How() or How.parse(words) == how


@pytest.mark.parametrize("text", ["", "none+camera", "camera+adabn", "adabn+cameras"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(PasserbyError, match="no adaptation '"):
        How.parse(text)


def test_records_of_one_target_have_names_of_their_own() -> None:
    assert record_name("viper") == record_name("viper", None) == record_name("viper", "") == "viper.json"
    assert record_name("viper", "bnta:pairs=64;lr=0.001 + camera") == "viper+bntapairs=64lr=0.001+camera.json"


def test_long_settings_have_short_names_of_their_own() -> None:
    every = "moves=mean,variance,weight,bias,instance,convolution"
    texts = [f"bnta:pairs=64;lr=0.{'0' * 60}{k};features=unit;positions=paired;{every} + camera" for k in range(5)]
    found = [record_name("viper", text) for text in texts]
    assert all(len(text) > LONGEST for text in texts)
    assert len(set(found)) == 5
    for name in found:
        assert len(name.encode()) < 200
        assert re.fullmatch(r"viper\+bntapairs=64lr=0\.0+[\w.=+-]*-[0-9a-f]{8}\.json", name)
        assert name == record_name("viper", texts[found.index(name)])
    # What differs beyond the cut differs.
    ends = [f"{'x' * 300}{end}" for end in ("a", "b")]
    assert len({record_name("viper", end) for end in ends}) == 2
    for length in (LONGEST - 1, LONGEST - 2):
        assert record_name("viper", "x" * length) == f"viper+{'x' * length}.json"
