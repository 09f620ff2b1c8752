"""Does `passerby diagnose` tell the truth? Its distance beside what is really lost, and what adapting really gains.

A small network with part heads learns on three synthetic places close to neutral, and is measured on sixteen: neutral itself, and
five steps away from it in each of three directions. Prints a line a place and rank correlations over the places (Spearman's). Takes
a quarter of an hour.
"""

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from passerby.commands.adapted import How, fit_to
from passerby.commands.diagnose import diagnose
from passerby.commands.train import train
from passerby.data.synthetic import NEUTRAL, shifted_domain, write_market
from passerby.evaluation.measure import measure
from passerby.evaluation.targets import open_target
from passerby.models.load import load
from passerby.recipes import load_recipe

PEOPLE, NEAR = 200, 0.15
STEPS, DIRECTIONS, SOURCE_DIRECTIONS = (0.2, 0.4, 0.6, 0.8, 1.0), (0, 1, 2), (10, 11, 12)
WAYS = ("adabn", "bnta", "camera", "bnta+camera")
OVERRIDES = ["method.name=bnta", "model.norm=dualnorm", "model.stripes=6", "trainer.max_steps=800"]


def main() -> None:
    """Prints a table of places, and correlations."""
    sources = [shifted_domain(NEAR, seed) for seed in SOURCE_DIRECTIONS]
    places = [NEUTRAL, *(shifted_domain(step, seed) for seed in DIRECTIONS for step in STEPS)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_market(root, [*sources, *places], PEOPLE)
        overrides = [*OVERRIDES, "data.sources=" + ",".join(f"{s.name}={root / s.name}" for s in sources)]
        run = train(
            load_recipe("baseline-demo", overrides),
            root,
            root / "run",
            recipe_name="diagnosis",
            overrides=overrides,
            device="cpu",
        )
        model = load(run)
        rows: list[list[float]] = []
        for place in places:
            target = open_target(f"{place.name}={root / place.name}", root)
            found = diagnose(run, root / place.name / "bounding_box_test", device="cpu")
            accuracy = [
                measure(target, fit_to(model, target, How.parse(way), False, False).features).metrics()["mAP"].mean
                for way in ("none", *WAYS)
            ]
            rows.append([found.distance, float(bool(found.far)), *accuracy])

    table = Table("place", "distance", "far", "mAP", *(f"{way} gains" for way in WAYS))
    for place, (distance, far, plain, *adapted) in zip(places, rows, strict=True):
        gains = [f"{100 * (value - plain):+.1f}" for value in adapted]
        table.add_row(place.name, f"{distance:.3f}", "far" if far else "close", f"{100 * plain:.1f}", *gains)
    console = Console(width=120)
    console.print(table)
    distances = [row[0] for row in rows]
    lost = [rows[0][2] - row[2] for row in rows]
    console.print(f"rank correlation of the distance with mAP lost: {spearmanr(distances, lost).statistic:.2f}")
    for i, way in enumerate(WAYS):
        gained = [row[3 + i] - row[2] for row in rows]
        mean = {word: [g for g, row in zip(gained, rows, strict=True) if row[1] == word] for word in (0.0, 1.0)}
        console.print(
            f"with what {way} gains: {spearmanr(distances, gained).statistic:.2f} "
            + ", ".join(
                f"({'far' if w else 'close'}: {100 * sum(g) / len(g):+.1f} on average)" for w, g in mean.items() if g
            )
        )


if __name__ == "__main__":
    main()
