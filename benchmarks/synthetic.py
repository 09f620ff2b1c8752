"""How fast synthetic pedestrians are rendered: images a second at 128x64, degradations included, nothing written.

Beside it stands a yardstick timed in the same run (the same pictures through a JPEG encoder and decoder on one
thread), so that runs on busy or different machines can be compared.

    python benchmarks/synthetic.py [images]
"""

import sys
import time
from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from passerby.data.synthetic import DOMAINS, SyntheticDomain

WORKERS = 2
REPEATS = 5


def best_time(work: Callable[[], object]) -> tuple[float, float]:
    """Least wall and processor seconds of several runs."""
    wall, processor = [], []
    for _ in range(REPEATS):
        start = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return min(wall), min(processor)


def recode(images: list[Image.Image]) -> None:
    """Each picture through JPEG and back."""
    for image in images:
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=90)
        np.asarray(Image.open(buffer))


def main(count: int) -> None:
    """Prints one line a domain."""
    table = Table(
        "domain",
        "images/s",
        "images/s of processor time x 2",
        "time over JPEG recoding",
        title=f"{WORKERS} threads, {count} images",
    )
    for name in DOMAINS:
        data = SyntheticDomain(name, identities=count)
        index = np.arange(count)
        pictures = [Image.fromarray(image) for image in data.render(index)]
        yardstick, _ = best_time(lambda pictures=pictures: recode(pictures))  # type: ignore[misc]
        wall, processor = best_time(lambda data=data, index=index: data.render(index, WORKERS))  # type: ignore[misc]
        table.add_row(name, f"{count / wall:.0f}", f"{WORKERS * count / processor:.0f}", f"{wall / yardstick:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 256)
