import re
from collections.abc import Callable
from statistics import pstdev

import pytest
from rich.console import Console

from passerby.errors import PasserbyError
from passerby.evaluation.records import MetricValues, Record, Trained
from passerby.report.table import console_table, markdown_table, row_key


def values(*per_split: float) -> MetricValues:
    return MetricValues(
        mean=sum(per_split) / len(per_split), std=pstdev(per_split), low=None, high=None, per_split=tuple(per_split)
    )


@pytest.fixture
def entry() -> Callable[..., Record]:
    """Makes a record from rank-1 by split; mAP is half of it."""

    def build(
        target: str,
        *rank1: float,
        seed: int = 0,
        recipe: str = "baseline",
        overrides: tuple[str, ...] = (),
        started_from: tuple[str, ...] = (),
        **changes: object,
    ) -> Record:
        trained = Trained(
            recipe=recipe,
            recipe_sha256="r",
            overrides=overrides,
            budget="quick",
            seed=seed,
            steps=9,
            sources=("one",),
            source_listing_sha256=("a",),
            started_from=started_from,
            seconds=60 * (seed + 1),
            peak_mib=1000 * (seed + 1),
        )
        record = Record(
            protocol="free",
            target=target,
            domain=target,
            split_id="s",
            direction="a -> b",
            splits=len(rank1),
            queries=5,
            gallery=9,
            target_listing_sha256="x",
            metrics={"rank1": values(*rank1), "mAP": values(*(r / 2 for r in rank1)), "tpr@fpr=0.01": values(*rank1)},
            model="m",
            weights_sha256="w",
            training=trained,
            code_version="0",
            machine="here",
            seconds=1,
        )
        return record.model_copy(update=changes)

    return build


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def printed(records: list[Record]) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(console_table(records))
    return capture.get()


def test_console_table_gives_percent_by_target_and_the_average(entry: Callable[..., Record]) -> None:
    text = printed([entry("viper", 0.4, 0.6), entry("prid", 0.2, 0.2)])
    rows = {words[0]: words[1:] for words in map(str.split, text.splitlines()) if words}
    assert rows["target"] == ["splits", "rank1", "mAP"]
    assert rows["viper"] == ["2", "50.0±10.0", "25.0±5.0"]
    assert rows["prid"] == ["2", "20.0±0.0", "10.0±0.0"]
    assert rows["average"] == ["35.0", "17.5"]
    assert "tpr" not in text


def test_console_table_fits_into_80_columns(entry: Callable[..., Record]) -> None:
    names = ("rank1", "rank5", "rank10", "rank20", "mAP", "mINP")
    full = entry("market1501", 1.0, 0.8, metrics={name: values(1.0, 0.8) for name in names})
    assert printed([full, full]).count(" 90.0±10.0") == 12


def test_console_table_of_one_target_has_no_average(entry: Callable[..., Record]) -> None:
    assert "average" not in printed([entry("viper", 0.4)])


def test_markdown_table_pools_splits_and_seeds(entry: Callable[..., Record]) -> None:
    records = [entry("viper", 0.4, 0.6, seed=s, recipe=r) for s in (0, 1) for r in ("a", "b")]
    records += [entry("prid", 0.1, 0.1, seed=0, recipe=r) for r in ("a", "b")] + [
        entry("prid", 0.3, 0.3, seed=1, recipe="a")
    ]
    header, rule, a, b = markdown_table(records).splitlines()
    assert cells(header) == ["recipe", "budget", "seeds", "viper", "prid", "average", "training, min", "peak, MiB"]
    assert set(cells(rule)) == {"---"}
    # Averages over targets: seed 0 (50 + 10) / 2 = 30, seed 1 (50 + 30) / 2 = 40.
    assert cells(a) == [
        "a",
        "quick",
        "2",
        "50.0 ± 10.0 / 25.0 ± 5.0",
        "20.0 ± 10.0 / 10.0 ± 5.0",
        "35.0 ± 5.0 / 17.5 ± 2.5",
        "1.5",
        "1500",
    ]
    # Seed 1 of b lacks a target, so the average is that of seed 0.
    assert cells(b)[3:6] == ["50.0 ± 10.0 / 25.0 ± 5.0", "10.0 ± 0.0 / 5.0 ± 0.0", "30.0 / 15.0"]


def test_a_missing_target_leaves_its_cell_and_the_average_empty(entry: Callable[..., Record]) -> None:
    table = markdown_table([entry("viper", 0.4, recipe="a"), entry("prid", 0.4, recipe="b")]).splitlines()
    assert cells(table[2])[3:6] == ["40.0 / 20.0", "", ""]


def test_rows_differ_by_everything_that_makes_another_system(entry: Callable[..., Record]) -> None:
    plain = entry("viper", 0.4)
    assert row_key(plain) == row_key(entry("prid", 0.9, seed=2))
    others = [
        entry("viper", 0.4, recipe="other"),
        entry("viper", 0.4, overrides=("trainer.lr=1",)),
        entry("viper", 0.4, started_from=("isr",)),
        entry("viper", 0.4, reranked=True),
        entry("viper", 0.4, flip_averaged=True),
        entry("viper", 0.4, matcher="qaconv", matched=200),
        entry("viper", 0.4, matcher="qaconv"),
        entry("viper", 0.4, adapted="adabn on 100 images"),
        entry("viper", 0.4, training=None),
    ]
    assert len({row_key(record) for record in [plain, *others]}) == 10
    names = [cells(line)[0] for line in markdown_table([plain, *others]).splitlines()[2:]]
    assert names == [
        "baseline",
        "other",
        "baseline trainer.lr=1",
        "baseline from isr",
        "baseline + re-ranking",
        "baseline + flip",
        "baseline + qaconv on 200",
        "baseline + qaconv on all",
        "baseline + adabn on 100 images",
        "m",
    ]


def test_other_data_of_the_same_name_are_another_row(entry: Callable[..., Record]) -> None:
    def record(seed: int, digests: tuple[str, ...], protocol: str = "free", target: str = "viper") -> Record:
        made = entry(target, 0.4)
        assert made.training is not None
        update = {"source_listing_sha256": digests, "seed": seed}
        training = made.training.model_copy(update=update)
        return made.model_copy(update={"protocol": protocol, "training": training})

    rows = markdown_table([record(0, ("a", "b")), record(1, ("a", "c")), record(2, ("b", "a"))]).splitlines()[2:]
    assert [cells(row)[2] for row in rows] == ["2", "1"]
    assert len({cells(row)[0] for row in rows}) == 2
    assert all(re.fullmatch(r"baseline \(data [0-9a-f]{8}\)", cells(row)[0]) for row in rows)
    (row,) = markdown_table([record(0, ("a", "b")), record(1, ("a", "b"))]).splitlines()[2:]
    assert cells(row)[0] == "baseline"
    turns = [record(0, (digest,), "leave-one-source-out", "one") for digest in "ab"]
    with pytest.raises(PasserbyError, match="a table shows one"):  # one row: other sources, other digests
        markdown_table(turns)


def test_other_sources_are_another_row_and_left_out_sources_one(entry: Callable[..., Record]) -> None:
    def record(target: str, sources: tuple[str, ...], protocol: str) -> Record:
        made = entry(target, 0.4)
        assert made.training is not None
        training = made.training.model_copy(update={"sources": sources})
        return made.model_copy(update={"protocol": protocol, "training": training})

    free = markdown_table([record("viper", ("a", "b"), "free"), record("viper", ("a",), "free")]).splitlines()
    assert [line.split(" on ")[1].split(" |")[0] for line in free[2:]] == ["a, b", "a"]
    turns = [record(left, rest, "leave-one-source-out") for left, rest in (("a", ("b", "c")), ("b", ("a", "c")))]
    assert len(markdown_table(turns).splitlines()) == 3
    # With another row that has all three, two of three turns are no average.
    full = [*turns, record("c", ("a", "b"), "leave-one-source-out")]
    partial = [
        r.model_copy(update={"training": r.training.model_copy(update={"recipe": "b"})}) for r in turns if r.training
    ]
    whole, part = markdown_table([*full, *partial]).splitlines()[2:]
    assert cells(whole)[6] == "40.0 / 20.0"
    assert cells(part)[3:7] == ["40.0 / 20.0", "40.0 / 20.0", "", ""]
