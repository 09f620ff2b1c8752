"""Draws what was swept on synthetic film (docs/records/isr-sweeps), and the precision of mined pairs over a run.

python docs/draw_film.py          # docs/methods/isr-sweeps.png
python docs/draw_film.py RUN...   # docs/methods/isr-pairs.png, of runs of `passerby train isr-...` by several seeds
"""

import sys
from collections import defaultdict
from operator import attrgetter
from pathlib import Path
from statistics import fmean, pstdev

from matplotlib.figure import Figure

from passerby.evaluation.records import Record, read_record
from passerby.recipes import load_recipe
from passerby.report.drawing import DASHES, MARKERS, SERIES
from passerby.report.pairs import CURVES, read_curves, running_mean

METHODS = Path(__file__).parent / "methods"
RECORDS = Path(__file__).parent / "records" / "isr-sweeps"
SWEPT = {
    "data.film.seconds": "delta_max, seconds (Table 7)",
    "method.gamma": "gamma (Fig. 6)",
    "method.queue_weight": "lambda (Fig. 6)",
}
"""Settings, and what the paper calls them."""


def points(records: list[Record], key: str, default: float) -> dict[float, list[Record]]:
    """The records of each value of a setting: those with an override of it, and those with none of anything swept."""
    found: dict[float, list[Record]] = defaultdict(list)
    for record in records:
        assert record.training is not None
        overrides = dict(o.split("=", 1) for o in record.training.overrides)
        swept = [name for name in SWEPT if name in overrides]
        if swept == [key]:
            found[float(overrides[key])].append(record)
        elif not swept:
            found[default].append(record)
    return dict(sorted(found.items()))


def over_seeds(records: list[Record], metric: str) -> tuple[float, float]:
    """Mean and deviation over seeds of the mean over targets, in percent."""
    seeds: dict[int, list[float]] = defaultdict(list)
    for record in records:
        assert record.training is not None
        seeds[record.training.seed].append(100 * record.metrics[metric].mean)
    means = [fmean(values) for values in seeds.values()]
    return fmean(means), pstdev(means)


def sweeps() -> Figure:
    """Rank-1 and mAP over each swept setting."""
    records = [read_record(path) for path in sorted(RECORDS.glob("*.json"))]
    recipe = load_recipe("isr-mobilenetv2")
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(1, len(SWEPT), sharey=True), SWEPT.items(), strict=True):
        found = points(records, key, attrgetter(key)(recipe))
        for i, (metric, name) in enumerate((("rank1", "rank-1"), ("mAP", "mAP"))):
            means, deviations = zip(*(over_seeds(of_value, metric) for of_value in found.values()), strict=True)
            axes.errorbar(
                range(len(found)),
                means,
                deviations,
                capsize=3,
                color=SERIES[i],
                marker=MARKERS[i],
                ls=DASHES[i],
                label=name,
            )
        axes.set_xticks(range(len(found)), [f"{value:g}" for value in found])
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    first = figure.axes[0]
    first.set_ylabel("percent, mean of three unseen styles")
    first.legend(frameon=False)
    return figure


def mined_pairs(runs: list[Path]) -> Figure:
    """Precision and reliability of the mined pairs over runs: their mean, and the lowest and highest of them."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    curves = [read_curves(run) for run in runs]
    for i, name in enumerate(CURVES):
        steps = [step for step, _ in min((curve[name] for curve in curves), key=len)]
        smooth = [running_mean([value for _, value in curve[name]])[: len(steps)] for curve in curves]
        axes.plot(
            steps,
            [fmean(values) for values in zip(*smooth, strict=True)],
            color=SERIES[i],
            ls=DASHES[i],
            label=CURVES[name],
        )
        lowest, highest = zip(*((min(values), max(values)) for values in zip(*smooth, strict=True)), strict=True)
        axes.fill_between(steps, lowest, highest, color=SERIES[i], alpha=0.15, lw=0)
    axes.set(xlabel="step", ylabel="fraction", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    if len(sys.argv) > 1:
        mined_pairs([Path(run) for run in sys.argv[1:]]).savefig(METHODS / "isr-pairs.png", dpi=120)
    else:
        sweeps().savefig(METHODS / "isr-sweeps.png", dpi=120)
