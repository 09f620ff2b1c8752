"""Draws what was swept on synthetic film, rank-1 over the amount of real film, and the precision of mined pairs over runs.

python docs/draw_film.py          # docs/methods/isr-sweeps.png and isr-film.png, of docs/records/isr-sweeps and isr-real
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
RECORDS = Path(__file__).parent / "records"
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
        overrides = _overrides(record)
        swept = [name for name in (*SWEPT, key) if name in overrides]
        if set(swept) == {key}:
            found[float(overrides[key])].append(record)
        elif not swept:
            found[default].append(record)
    return dict(sorted(found.items()))


def _overrides(record: Record) -> dict[str, str]:
    assert record.training is not None
    return dict(override.split("=", 1) for override in record.training.overrides)


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
    records = _read("isr-sweeps")
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
    first.set_ylabel("percent")
    first.legend(frameon=False)
    return figure


def amount_of_film() -> Figure:
    """Rank-1 and mAP over the share of the real film, beside the start and MoCo on all of it."""
    records = _read("isr-real")
    trained = [record for record in records if "trainer.max_steps" not in _overrides(record)]
    moco = [record for record in trained if record.training and record.training.recipe.startswith("moco")]
    isr = points([record for record in trained if record not in moco], "data.film.share", 1.0)
    start = [record for record in records if record not in trained and "model.norm" in _overrides(record)]
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, (metric, name) in zip(figure.subplots(1, 2), (("rank1", "rank-1"), ("mAP", "mAP")), strict=True):
        means, deviations = zip(*(over_seeds(of_share, metric) for of_share in isr.values()), strict=True)
        axes.errorbar(
            [100 * share for share in isr],
            means,
            deviations,
            capsize=3,
            color=SERIES[0],
            marker=MARKERS[0],
            label="ISR",
        )
        for i, (label, of_all) in enumerate((("MoCo, all film", moco), ("ImageNet start", start)), 1):
            axes.axhline(over_seeds(of_all, metric)[0], color=SERIES[i], ls=DASHES[i], label=label)
        axes.set(xlabel="share of the film, percent", ylabel=f"{name}, percent", ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.axes[1].legend(frameon=False, loc="lower right")
    return figure


def _read(name: str) -> list[Record]:
    return [read_record(path) for path in sorted((RECORDS / name).glob("*.json"))]


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
        amount_of_film().savefig(METHODS / "isr-film.png", dpi=120)
