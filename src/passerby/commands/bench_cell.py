"""One cell of a benchmark: a training run and the targets that it is measured on."""

import csv
import fcntl
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from passerby.commands.adapted import How, record_name
from passerby.models.saved import CARD
from passerby.recipes.recipe import Budget, Recipe

POLL = 3.0
"""Seconds between looks at a run that is training."""


@dataclass(frozen=True)
class BenchCell:
    """One training run and the targets that it is measured on.

    Attributes:
        recipe, overrides, budget, seed: what trains; the overrides name the cell's sources.
        settings: the recipe, overrides applied.
        targets: what it is measured on.
        ways: how the trained model is fitted to a target before it is measured; each is a measurement of its own.
        protocol: how targets are measured.
        folder: where the run, its log and its records are.
    """

    recipe: str
    overrides: tuple[str, ...]
    budget: Budget
    seed: int
    settings: Recipe
    targets: tuple[str, ...]
    ways: tuple[How, ...]
    protocol: str
    folder: Path

    @property
    def records(self) -> Path:
        """Folder of the records, one a target."""
        return self.folder / "records"

    @property
    def finished(self) -> bool:
        """Every target has its records."""
        return all(self._measured(how) for how in self.ways)

    def _measured(self, how: How) -> bool:
        names = [record_name(plain_name(target), str(how), how.unknown, how.top_k) for target in self.targets]
        return all((self.records / name).exists() for name in names)

    def _trained(self) -> float:
        """Share of the training that the newest log says is done, at most 0.95: measuring comes after."""
        logs = sorted((self.folder / "run" / "logs").glob("part-*/metrics.csv"), key=lambda path: path.stat().st_mtime)
        try:
            *_, last = csv.DictReader(logs[-1].read_text(encoding="utf-8").splitlines())
            run = json.loads((self.folder / "run" / "run.json").read_text(encoding="utf-8"))
            # A run on film says there how many steps it takes.
            steps, epochs = self.settings.trainer.max_steps or run.get("steps"), self.settings.trainer.max_epochs
            return min(0.95, int(last["step"]) / steps if steps else int(last["epoch"]) / epochs)
        except (IndexError, ValueError, KeyError, TypeError, OSError):  # nothing logged yet, or half a line
            return 0.0

    def run(self, data_root: Path, device: str, on_progress: Callable[[float], None] = lambda _: None) -> str | None:
        """Trains and measures in processes of their own; returns the last line of what went wrong, or None.

        Args:
            data_root: folder that holds the datasets.
            device: as in train.
            on_progress: told every few seconds which share of the training is done.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return f"another bench is at work on it, or left a process that is ({self.folder})"
            return None if self.finished else self._train_and_measure(data_root, device, lock.fileno(), on_progress)

    def _train_and_measure(
        self, data_root: Path, device: str, lock: int, on_progress: Callable[[float], None]
    ) -> str | None:
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
            if error := self._call(arguments, lock, on_progress):
                return error
        for how in self.ways:
            if not self._measured(how):
                arguments = [
                    "evaluate",
                    str(run),
                    *common,
                    "--targets",
                    ",".join(self.targets),
                    "--protocol",
                    self.protocol,
                ]
                arguments += [*how.arguments(), "--records", str(self.records)]
                if error := self._call(arguments, lock, lambda _: None):
                    return error
        return None

    def _call(self, arguments: list[str], lock: int, on_progress: Callable[[float], None]) -> str | None:
        log = self.folder / "log.txt"
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ passerby {' '.join(arguments)}\n")
            stream.flush()
            # The process holds the lock as well: it may outlive a bench that is killed.
            process = subprocess.Popen(
                [sys.executable, "-m", "passerby", *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
            )
            try:
                while (code := _wait(process)) is None:
                    on_progress(self._trained())
            except BaseException:  # Ctrl-C: the run goes on from its last checkpoint another time
                process.terminate()
                process.wait()
                raise
        if code == 0:
            return None
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'no output'} (exit code {code}; {log})"


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(POLL)
    except subprocess.TimeoutExpired:
        return None


def plain_name(spec: str) -> str:
    """The name of a dataset that is given as `name=path`."""
    return spec.partition("=")[0]
