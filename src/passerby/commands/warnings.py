"""What a dataset says whenever it is used."""

from collections.abc import Iterable

from rich.console import Console

from passerby.data.datasets import DATASETS


def warn(specs: Iterable[str]) -> None:
    """Prints the warnings of these datasets (a retraction, say) on stderr."""
    for spec in specs:
        if spec in DATASETS and DATASETS[spec].warning:
            Console(stderr=True).print(
                f"{spec}: {DATASETS[spec].warning}", style="yellow", markup=False, soft_wrap=True
            )
