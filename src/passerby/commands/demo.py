"""passerby demo: the whole road on synthetic people, with nothing to download."""

import os
import time
from pathlib import Path

from rich.console import Console

from passerby.commands.evaluate import evaluate
from passerby.commands.train import train
from passerby.data.synthetic import write_market
from passerby.errors import PasserbyError
from passerby.recipes import load_recipe

RECIPE = "baseline-demo"
SOURCES = ("sunny-plaza", "indoor-mall", "snowy-street")
UNSEEN = "rainy-night"
IDENTITIES = 200

INTRODUCTION = """\
A small network was trained from random weights on people of three synthetic domains: {sources}. It was then measured on other
people of these three domains (in-domain: the cameras are known, the people are new), and on {unseen}, which took no part in
training (unseen: cameras and people are new). What lies between the two is what domain generalization is about."""


def demo(out: Path, seed: int) -> Path:
    """Draws four synthetic domains, trains on three, measures on all four, writes OUT/report.html.

    Args:
        out: a new folder for data, run and report.
        seed: of people, cameras and training.

    Returns:
        the report.

    Raises:
        PasserbyError: when `out` holds something already.
    """
    if out.exists() and any(out.iterdir()):
        raise PasserbyError(f"--out {out}: holds something already; remove it or give another folder")
    console = Console()
    started = time.perf_counter()
    os.environ.setdefault("PASSERBY_CACHE", str(out / "cache"))
    console.print("[bold]1/3[/] drawing four synthetic domains")
    data = out / "data"
    write_market(data, [*SOURCES, UNSEEN], IDENTITIES, seed)
    specs = {name: f"{name}={data / name}" for name in (*SOURCES, UNSEEN)}
    console.print(f"[bold]2/3[/] training on {', '.join(SOURCES)}")
    overrides = ["data.sources=" + ",".join(specs[name] for name in SOURCES)]
    train(load_recipe(RECIPE, overrides), data, out / "run", recipe_name=RECIPE, overrides=overrides, seed=seed)
    console.print(f"[bold]3/3[/] measuring: in-domain on new people of the sources, unseen on {UNSEEN}")
    report = out / "report.html"
    introduction = " ".join(INTRODUCTION.format(sources=", ".join(SOURCES), unseen=UNSEEN).split())
    evaluate(
        out / "run",
        data,
        list(specs.values()),
        json_file=out / "metrics.json",
        records_folder=out / "records",
        report_file=report,
        introduction=introduction,
    )
    console.print(f"done in {(time.perf_counter() - started) / 60:.1f} minutes; open {report}")
    return report
