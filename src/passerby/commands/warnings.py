"""Warnings on the console."""

from collections.abc import Iterable

from rich.console import Console

from passerby.data.datasets import DATASETS


def caution(message: str, console: Console | None = None) -> None:
    """Prints a warning in one line, on stderr where no console is given."""
    (console or Console(stderr=True)).print(message, style="yellow", markup=False, soft_wrap=True)


def warn(specs: Iterable[str]) -> None:
    """Prints the warnings of these datasets (a retraction, say) on stderr."""
    for spec in specs:
        if spec in DATASETS and DATASETS[spec].warning:
            caution(f"{spec}: {DATASETS[spec].warning}")
