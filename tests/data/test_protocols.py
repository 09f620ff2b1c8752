"""Named protocols: the runs that each is made of."""

import pytest

from passerby.data.protocols import PROTOCOLS, Cell, get_protocol
from passerby.errors import PasserbyError


def cells(protocol: str, sources: str = "", targets: str = "") -> tuple[Cell, ...]:
    return get_protocol(protocol).cells(sources.split(), targets.split())


def test_large_to_small() -> None:
    small = ("viper", "prid", "grid", "ilids")
    papers = ("market1501", "dukemtmcreid", "cuhk02", "cuhk03", "cuhk-sysu")
    assert cells("large-to-small") == (Cell(papers, small),)
    assert cells("large-to-small", "market1501 cuhk03") == (Cell(("market1501", "cuhk03"), small),)
    assert cells("large-to-small", "market1501", "prid") == (Cell(("market1501",), ("prid",)),)
    assert get_protocol("large-to-small").images == "all"
    with pytest.raises(PasserbyError, match="msmt17 is no small target; choose from viper"):
        cells("large-to-small", "market1501", "msmt17")
    with pytest.raises(PasserbyError, match="prid is a source and a target"):
        cells("large-to-small", "market1501 prid")


def test_leave_one_out() -> None:
    assert cells("leave-one-out") == (
        Cell(("msmt17", "cuhk03", "cuhk-sysu"), ("market1501",)),
        Cell(("market1501", "cuhk03", "cuhk-sysu"), ("msmt17",)),
        Cell(("market1501", "msmt17", "cuhk-sysu"), ("cuhk03",)),
    )
    assert cells("leave-one-out", "randperson market1501 cuhk03", "cuhk03") == (
        Cell(("randperson", "market1501"), ("cuhk03",)),
    )
    # A source that the protocol never measures on trains in every run.
    assert cells("leave-one-out", "cuhk03 cuhk01") == (Cell(("cuhk01",), ("cuhk03",)),)
    with pytest.raises(PasserbyError, match="none of market1501, msmt17, cuhk03 is a source"):
        cells("leave-one-out", "cuhk01")
    with pytest.raises(PasserbyError, match="no source is left to train on for msmt17"):
        cells("leave-one-out", "msmt17")


def test_single_source() -> None:
    assert cells("single-source") == (
        Cell(("market1501",), ("msmt17", "cuhk03")),
        Cell(("msmt17",), ("market1501", "cuhk03")),
        Cell(("randperson",), ("market1501", "msmt17", "cuhk03")),
    )
    assert cells("single-source", "cuhk01", "viper prid") == (Cell(("cuhk01",), ("viper", "prid")),)
    assert get_protocol("single-source").domains == "camera"
    with pytest.raises(PasserbyError, match="cuhk01 is the only target and the source"):
        cells("single-source", "cuhk01", "cuhk01")


def test_leave_one_source_out() -> None:
    assert cells("leave-one-source-out", "market1501 cuhk03 cuhk01") == (
        Cell(("cuhk03", "cuhk01"), ("market1501",), held_out=True),
        Cell(("market1501", "cuhk01"), ("cuhk03",), held_out=True),
        Cell(("market1501", "cuhk03"), ("cuhk01",), held_out=True),
    )
    assert cells("leave-one-source-out", "market1501 mine=photos cuhk-sysu") == (
        Cell(("mine=photos", "cuhk-sysu"), ("market1501",), held_out=True),
        Cell(("market1501", "cuhk-sysu"), ("mine=photos",), held_out=True),
    )
    for sources in ("", "market1501", "cuhk03 cuhk03-labeled"):
        with pytest.raises(PasserbyError, match=r"set data.sources to at least two"):
            cells("leave-one-source-out", sources)
    with pytest.raises(PasserbyError, match="takes no targets"):
        cells("leave-one-source-out", "market1501 cuhk03", "viper")


def test_free() -> None:
    expected = (Cell(("market1501", "mine=a/b"), ("viper", "yours=c.csv")),)
    assert cells("free", "market1501 mine=a/b", "viper yours=c.csv") == expected
    with pytest.raises(PasserbyError, match=r"no source; set data.sources"):
        cells("free", "", "viper")
    with pytest.raises(PasserbyError, match="no target; give --targets"):
        cells("free", "market1501")


def test_two_datasets_of_the_same_people_never_stand_on_opposite_sides() -> None:
    assert cells("leave-one-source-out", "market1501 cuhk01 cuhk02") == (
        Cell(("cuhk01", "cuhk02"), ("market1501",), held_out=True),
        Cell(("market1501",), ("cuhk01",), held_out=True),
        Cell(("market1501",), ("cuhk02",), held_out=True),
    )


def test_the_same_people_under_another_name_are_left_out_too() -> None:
    (first, *_) = cells("leave-one-source-out", "cuhk03 cuhk03-labeled market1501")
    assert first == Cell(("market1501",), ("cuhk03",), held_out=True)
    assert cells("leave-one-out", "cuhk03-labeled market1501", "cuhk03") == (Cell(("market1501",), ("cuhk03",)),)
    assert cells("single-source", "market1501-500k", "market1501 viper") == (Cell(("market1501-500k",), ("viper",)),)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_bad_names(name: str) -> None:
    with pytest.raises(PasserbyError, match="no dataset 'vipr': did you mean 'viper'"):
        cells(name, "market1501 cuhk03", "vipr")
    with pytest.raises(PasserbyError, match="no dataset 'marke1501'"):
        cells(name, "marke1501", "viper")
    with pytest.raises(PasserbyError, match=rf"{name}: 'cuhk01' stands twice in the sources"):
        cells(name, "cuhk01 cuhk01", "viper")
    with pytest.raises(PasserbyError, match=rf"{name}: nothing is measured on cuhk-sysu"):
        cells(name, "market1501 cuhk03", "cuhk-sysu")


def test_every_protocol_says_what_it_is() -> None:
    assert sorted(PROTOCOLS) == [
        "free",
        "large-to-small",
        "leave-one-out",
        "leave-one-source-out",
        "one-to-four",
        "single-source",
    ]
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert len(protocol.description) > 10
    assert "Protocol-1 of LDA" in PROTOCOLS["large-to-small"].numbering
    assert "LDA: Protocol-2" in PROTOCOLS["leave-one-out"].numbering
    assert "Protocol-1 of TAL" in PROTOCOLS["single-source"].numbering


def test_an_unknown_protocol_is_an_error() -> None:
    with pytest.raises(PasserbyError, match="no protocol 'leave-one-outt': did you mean 'leave-one-out'"):
        get_protocol("leave-one-outt")
