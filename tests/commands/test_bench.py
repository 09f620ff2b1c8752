"""Benchmarks: cells are run once, survive failures and kills, and end in a table made from records."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from passerby.commands import bench_cell as module
from passerby.commands.bench import bench, read_records
from passerby.errors import PasserbyError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Runs the cells' commands in this process, and remembers them."""
    from passerby.cli import app

    seen: list[list[str]] = []

    class Process:
        """Stands in for subprocess.Popen: done as soon as it is started."""

        def __init__(self, command: list[str], **streams: Any) -> None:
            seen.append(command[3:])
            self.code = 0
            try:
                app(command[3:], standalone_mode=False)
            except PasserbyError as error:
                streams["stdout"].write(f"passerby: {error}\n")
                self.code = 2

        def wait(self, timeout: float) -> int:
            return self.code

    stand_in = SimpleNamespace(Popen=Process, STDOUT=subprocess.STDOUT, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(module, "subprocess", stand_in)
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


def test_a_cell_trains_once_and_is_measured_in_every_way(
    people: Path, sources: str, tiny: list[str], tmp_path: Path, calls: list[list[str]]
) -> None:
    out = tmp_path / "bench"
    assert start(people, out, tiny, sources, seeds=1, ways=["none", "camera"]) == 0
    assert [c[0] for c in calls] == ["train", "evaluate", "evaluate"]
    assert sorted(str(r.adapted) for r in read_records(out)) == ["None", "camera"]
    calls.clear()
    assert start(people, out, tiny, sources, seeds=1, ways=["adabn:weight=0.5+camera", "camera"]) == 0
    assert [c[0] for c in calls] == ["evaluate"]
    assert {r.adapted for r in read_records(out)} == {None, "camera", "adabn:weight=0.5 + camera"}
    assert len((out / "table.md").read_text().splitlines()) == 2 + 3
    with pytest.raises(PasserbyError, match="no adaptation 'adbn'"):
        start(people, out, tiny, sources, ways=["adbn+camera"])


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
        (["baseline-mobilenetv2"], {"targets": [f"one={people / 'one'}"]}, "in a source and in a target at once"),
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


@pytest.mark.timeout(1200)
def test_a_cell_that_was_killed_while_training_is_resumed(
    people: Path, sources: str, tiny: list[str], tmp_path: Path
) -> None:
    import signal
    import sys
    import time

    out, targets = tmp_path / "bench", f"three={people / 'three'}"
    command = [
        sys.executable,
        "-m",
        "passerby",
        "bench",
        "--recipes",
        "baseline-mobilenetv2",
        "--data-root",
        str(people),
    ]
    command += ["--out", str(out), "--targets", targets, "--seeds", "1", "--budget", "full", "--device", "cpu"]
    steps = [override for override in tiny if not override.startswith("trainer.max_steps")]
    for override in (*steps, "trainer.max_steps=400", sources):
        command += ["--set", override]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        deadline = time.monotonic() + 600
        while not list(out.glob("cells/*/run/checkpoints/last.ckpt")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    (cell,) = (out / "cells").iterdir()
    assert (cell / "run" / "checkpoints" / "last.ckpt").exists()
    assert not (cell / "run" / "model").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "--resume" in (cell / "log.txt").read_text()
    (record,) = read_records(out)
    assert record.training is not None
    assert record.training.steps == 400
