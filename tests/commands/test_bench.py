"""Benchmarks: cells are run once, survive failures and kills, and end in a table made from records."""

from pathlib import Path
from typing import Any

import pytest

from passerby.commands import bench as module
from passerby.commands.bench import bench, read_records
from passerby.errors import PasserbyError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Runs the cells' commands in this process, and remembers them."""
    from passerby.cli import app

    seen: list[list[str]] = []

    def call(command: list[str], **streams: Any) -> int:
        seen.append(command[3:])
        try:
            app(command[3:], standalone_mode=False)
        except PasserbyError as error:
            streams["stdout"].write(f"passerby: {error}\n")
            return 2
        return 0

    monkeypatch.setattr(module.subprocess, "call", call)
    return seen


def start(people: Path, out: Path, tiny: list[str], sources: str, **options: Any) -> int:
    arguments = {
        "protocol": "free",
        "targets": [f"three={people / 'three'}"],
        "seeds": 2,
        "budget": "full",
        "device": "cpu",
    } | options
    return bench(["baseline-mobilenetv2"], people, out, [*tiny, sources], **arguments)


def test_every_cell_once(
    people: Path,
    sources: str,
    tiny: list[str],
    tmp_path: Path,
    calls: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert start(people, tmp_path / "bench", tiny, sources) == 0
    assert [c[0] for c in calls] == ["train", "evaluate"] * 2
    records = read_records(tmp_path / "bench")
    assert sorted(r.training.seed for r in records if r.training) == [0, 1]
    table = (tmp_path / "bench" / "table.md").read_text()
    assert table.strip() in capsys.readouterr().out
    assert "| three |" in table.splitlines()[0]
    calls.clear()
    assert start(people, tmp_path / "bench", tiny, sources, seeds=3) == 0
    assert [c[0] for c in calls] == ["train", "evaluate"]


def test_carries_on_past_a_failed_cell_and_tries_it_again(
    people: Path, sources: str, tiny: list[str], tmp_path: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import passerby.commands.evaluate as evaluation

    measure = evaluation.measure
    count = iter(range(100))

    def fails_first(*args: Any, **options: Any) -> Any:
        if next(count) == 0:
            raise PasserbyError("disk: full; make room")
        return measure(*args, **options)

    monkeypatch.setattr(evaluation, "measure", fails_first)
    assert start(people, tmp_path / "bench", tiny, sources) == 1
    assert len(read_records(tmp_path / "bench")) == 1
    calls.clear()
    assert start(people, tmp_path / "bench", tiny, sources) == 0
    assert [c[0] for c in calls] == ["evaluate"]
    assert len(read_records(tmp_path / "bench")) == 2


def test_leave_one_source_out_trains_on_the_others(
    people: Path, sources: str, tiny: list[str], tmp_path: Path, calls: list[list[str]]
) -> None:
    three = f"{sources},three={people / 'three'}"
    assert start(people, tmp_path / "bench", tiny, three, protocol="leave-one-source-out", targets=[], seeds=1) == 0
    records = read_records(tmp_path / "bench")
    assert {(r.target, r.training.sources) for r in records if r.training} == {
        ("one", ("two", "three")),
        ("two", ("one", "three")),
        ("three", ("one", "two")),
    }
    assert {r.protocol for r in records} == {"leave-one-source-out"}


def test_other_overrides_are_other_rows(
    people: Path, sources: str, tiny: list[str], tmp_path: Path, calls: list[list[str]]
) -> None:
    start(people, tmp_path / "bench", tiny, sources, seeds=1)
    start(people, tmp_path / "bench", [*tiny, "optimizer.lr=1e-3"], sources, seeds=1)
    table = (tmp_path / "bench" / "table.md").read_text().splitlines()
    assert len(table) == 4
    assert sum("optimizer.lr=1e-3" in line for line in table) == 1


def test_bad_input_before_anything_runs(
    people: Path, sources: str, tiny: list[str], tmp_path: Path, calls: list[list[str]]
) -> None:
    for recipes, options, message in (
        ([], {}, "--recipes"),
        (["baseline-mobilnet"], {}, "did you mean"),
        (["baseline-mobilenetv2"], {"protocol": "leave-one-out-source"}, "protocol"),
        (["baseline-mobilenetv2"], {"targets": []}, "target"),
        (["baseline-mobilenetv2"], {"targets": ["viper"]}, "viper"),
    ):
        arguments = {"protocol": "free", "targets": ["viper"], "seeds": 1, "budget": "full", "device": "cpu"} | options
        with pytest.raises(PasserbyError, match=message):
            bench(recipes, people, tmp_path / "bench", [*tiny, sources], **arguments)
    assert calls == []


def test_a_cell_that_another_bench_runs_is_left_alone(
    people: Path, sources: str, tiny: list[str], tmp_path: Path, calls: list[list[str]]
) -> None:
    import fcntl

    assert start(people, tmp_path / "bench", tiny, sources, seeds=1) == 0
    (cell,) = (tmp_path / "bench" / "cells").iterdir()
    (cell / "records" / "three.json").unlink()
    calls.clear()
    with (cell / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert start(people, tmp_path / "bench", tiny, sources, seeds=1) == 1
    assert calls == []
    assert start(people, tmp_path / "bench", tiny, sources, seeds=1) == 0
    assert [c[0] for c in calls] == ["evaluate"]
