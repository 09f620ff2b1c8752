"""passerby bench: recipes x seeds x cells of a protocol, each trained and measured once, and the table of them all."""

import fcntl
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from passerby.commands.evaluate import LEFT_OUT
from passerby.data.protocols import get_protocol
from passerby.data.settings import DataSettings
from passerby.data.sources import open_sources
from passerby.errors import PasserbyError
from passerby.evaluation.records import Record, read_record
from passerby.evaluation.targets import open_target
from passerby.files import write_text
from passerby.models.saved import CARD
from passerby.recipes import load_recipe
from passerby.recipes.recipe import Budget
from passerby.report.table import markdown_table


@dataclass(frozen=True)
class BenchCell:
    """One training run and the targets that it is measured on.

    Attributes:
        recipe, overrides, budget, seed: what trains; the overrides name the cell's sources.
        data: what it trains on, overrides applied.
        targets: what it is measured on.
        protocol: how.
        folder: where the run, its log and its records are.
    """

    recipe: str
    overrides: tuple[str, ...]
    budget: Budget
    seed: int
    data: DataSettings
    targets: tuple[str, ...]
    protocol: str
    folder: Path

    @property
    def records(self) -> Path:
        """Folder of the records, one a target."""
        return self.folder / "records"

    @property
    def finished(self) -> bool:
        """Every target has its record."""
        return all((self.records / f"{_name(target)}.json").exists() for target in self.targets)

    def run(self, data_root: Path, device: str) -> str | None:
        """Trains and measures in processes of their own; returns the last line of what went wrong, or None."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return f"another bench is at work on it, or left a process that is ({self.folder})"
            return None if self.finished else self._train_and_measure(data_root, device, lock.fileno())

    def _train_and_measure(self, data_root: Path, device: str, lock: int) -> str | None:
        run = self.folder / "run"
        common = ["--data-root", str(data_root), "--device", device]
        if not (run / "model" / CARD).exists():
            arguments = [
                "train",
                self.recipe,
                *common,
                "--out",
                str(run),
                "--budget",
                self.budget,
                "--seed",
                str(self.seed),
            ]
            arguments += [part for override in self.overrides for part in ("--set", override)]
            arguments += ["--resume"] if (run / "run.json").exists() else []
            if error := self._call(arguments, lock):
                return error
        arguments = ["evaluate", str(run), *common, "--targets", ",".join(self.targets), "--protocol", self.protocol]
        return self._call([*arguments, "--records", str(self.records)], lock)

    def _call(self, arguments: list[str], lock: int) -> str | None:
        log = self.folder / "log.txt"
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ passerby {' '.join(arguments)}\n")
            stream.flush()
            # The process holds the lock as well: it may outlive a bench that is killed.
            code = subprocess.call(
                [sys.executable, "-m", "passerby", *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
            )
        if code == 0:
            return None
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'no output'} (exit code {code}; {log})"


def bench(
    recipes: Sequence[str],
    data_root: Path,
    out: Path,
    overrides: Sequence[str],
    protocol: str,
    targets: Sequence[str],
    seeds: int,
    budget: Budget,
    device: str,
) -> int:
    """Runs every cell that has no record yet, prints and writes OUT/table.md, and returns the number of failed cells.

    Each cell is a process of its own, so its peak memory is its own and a crash costs one cell. A cell that was killed while
    training is resumed from its last checkpoint.

    Args:
        recipes: packaged names or YAML files.
        data_root: folder that holds the datasets.
        out: OUT/cells holds runs and records. Benches with other overrides may share it: the table shows all records there.
        overrides: applied to every recipe.
        protocol: a named protocol; its sources are the recipe's.
        targets: of a `free` protocol, or the protocol's choice where it leaves one.
        seeds: seeds 0 .. seeds - 1.
        budget: the same for all.
        device: as in train.

    Raises:
        PasserbyError: for bad input, before anything runs.
    """
    console = Console()
    cells = list(_cells(recipes, out, tuple(overrides), protocol, tuple(targets), seeds, budget))
    open_cells = [cell for cell in cells if not cell.finished]
    _check_data(open_cells, data_root)
    failures: list[str] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=1e9) as progress:
        if len(open_cells) < len(cells):
            console.print(f"{len(cells) - len(open_cells)} of {len(cells)} cells are finished already")
        task = progress.add_task("cells", total=len(open_cells))
        for cell in open_cells:
            progress.update(task, description=f"{cell.recipe} seed {cell.seed} -> {','.join(cell.targets)}")
            if error := cell.run(data_root, device):
                failures.append(f"{cell.recipe} seed {cell.seed}: {error}")
                console.print(failures[-1], style="red", markup=False, soft_wrap=True)
            progress.advance(task)
    records = read_records(out)
    if records:
        table = markdown_table(records)
        write_text(out / "table.md", table + "\n")
        print(table)
    if failures:
        console.print(
            f"{len(failures)} of {len(cells)} cells failed; run the same command again to try them anew", style="red"
        )
    return len(failures)


def read_records(out: Path) -> list[Record]:
    """All records of a bench folder, in the order of their cells' names and targets."""
    return [read_record(path) for path in sorted(out.glob("cells/*/records/*.json"))]


def _cells(
    recipes: Sequence[str],
    out: Path,
    overrides: tuple[str, ...],
    protocol: str,
    targets: tuple[str, ...],
    seeds: int,
    budget: Budget,
) -> Iterator[BenchCell]:
    if not recipes:
        raise PasserbyError("--recipes: empty; name at least one recipe")
    plan = get_protocol(protocol)
    demanded = [f"data.domains={plan.domains}"] if plan.domains == "camera" else []
    demanded += [f"data.images={plan.images}"] if plan.images else []
    given = [override for override in overrides if not override.startswith("data.sources=")]
    for seed in range(seeds):
        for name in recipes:
            sources = load_recipe(name, list(overrides), budget).data.sources
            for part in plan.cells(sources, targets):
                own = [*given, *demanded, "data.sources=" + ",".join(part.sources)]
                # A cell is named by everything that decides its result.
                recipe = load_recipe(name, own, budget)
                facts = [recipe.model_dump(mode="json"), budget, seed, part.targets, protocol]
                digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
                label = f"{Path(name).stem}-{budget}-{'+'.join(map(_name, part.targets))}-s{seed}-{digest}"
                folder = out / "cells" / label
                yield BenchCell(name, tuple(own), budget, seed, recipe.data, part.targets, protocol, folder)


def _check_data(cells: Sequence[BenchCell], data_root: Path) -> None:
    """Opens every dataset before anything runs: one that is missing must not fail cell by cell, hours apart."""
    for sources, images in dict.fromkeys((cell.data.sources, cell.data.images) for cell in cells):
        open_sources(sources, data_root, images)
    for target, held_out in dict.fromkeys((t, cell.protocol == LEFT_OUT) for cell in cells for t in cell.targets):
        open_target(target, data_root, held_out)


def _name(spec: str) -> str:
    return spec.partition("=")[0]
