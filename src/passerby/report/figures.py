"""Figures of a measurement: CMC curves and score histograms."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from passerby.evaluation.ranking_pairs import PairHistogram
from passerby.report.drawing import DASHES, INK, MARKERS, SERIES, new_axes, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 128
RANKS = (1, 2, 5, 10, 20, 50)


def cmc_figure(curves: Sequence[tuple[str, Tensor]]) -> str:
    """CMC curves: a line a target, with a band of one standard deviation where there are several splits.

    Args:
        curves: name of a target, and the curves of its splits, [S, R] fractions.

    Returns:
        an <svg> element. Its colours are CSS variables (`--series-1`, ..., `--ink`, `--grid`) with defaults for white
        paper.
    """
    figure, axes = new_axes()
    for number, (name, splits) in enumerate(curves):
        mean, std = 100 * splits.mean(0), 100 * splits.std(0, correction=0)
        ranks = range(1, len(mean) + 1)
        colour, turn = SERIES[number % len(SERIES)], number // len(SERIES)
        if len(splits) > 1:
            axes.fill_between(
                ranks, (mean - std).clamp(min=0), (mean + std).clamp(max=100), color=colour, alpha=0.18, linewidth=0
            )
        axes.plot(
            ranks,
            mean,
            color=colour,
            linestyle=DASHES[turn % len(DASHES)],
            marker=MARKERS[number % len(MARKERS)],
            markevery=[rank - 1 for rank in RANKS if rank <= len(mean)],
            markersize=4.5,
            linewidth=1.8,
            label=name,
        )
    longest = max(splits.shape[1] for _, splits in curves)
    axes.set_xscale("log")
    axes.set_xlim(0.95, longest * 1.05)
    axes.set_xticks(
        [rank for rank in RANKS if rank <= longest], labels=[str(rank) for rank in RANKS if rank <= longest]
    )
    axes.minorticks_off()
    axes.set_ylim(0, 102)
    axes.set_xlabel("rank (logarithmic)")
    axes.set_ylabel("found by then, %")
    axes.legend(loc="best", frameon=False, labelcolor=INK)
    return to_svg(figure, "cmc")


def histogram_figure(splits: Sequence[PairHistogram], tpr: Mapping[float, float], name: str) -> str:
    """Densities of the scores of same and of different people, all splits together, with the thresholds of TPR@FPR.

    Args:
        splits: pairs of each split of a target, over one range of scores.
        tpr: share of same pairs accepted by false-positive rate, both fractions; each is marked at its threshold.
        name: of the figure, unique within its page: the ids in it derive from it.

    Returns:
        an <svg> element, coloured as `cmc_figure` is.
    """
    pairs = _pooled(splits)
    edges, *counts = pairs.coarse(BINS)
    width = float(edges[1] - edges[0])
    densities = [count.double() / int(count.sum()) / width for count in counts]
    figure, axes = new_axes()
    for label, density, colour in zip(("same person", "different people"), densities, SERIES, strict=False):
        axes.stairs(density, edges, fill=True, color=colour, alpha=0.3, linewidth=0, label=label)
        axes.stairs(density, edges, color=colour, linewidth=1.5)
    left, right = _visible(densities[0] + densities[1], edges)
    top = 1.5 * max(float(density.max()) for density in densities)
    axes.set_xlim(left, right)
    axes.set_ylim(0, top)
    axes.set_yticks([])
    axes.set_xlabel("score")
    axes.set_ylabel("density")
    _mark_rates(axes, [(threshold(pairs, fpr), fpr, share) for fpr, share in tpr.items()], top)
    # Above the axes: what is inside is taken by the marks.
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, labelcolor=INK)
    return to_svg(figure, name)


def threshold(pairs: PairHistogram, fpr: float) -> float:
    """The lowest edge of a bin from which on at most the share `fpr` of the different pairs score."""
    accepted = int((pairs.different.flip(0).cumsum(0) <= fpr * int(pairs.different.sum())).sum())
    return pairs.high - accepted * (pairs.high - pairs.low) / len(pairs.different)


def _pooled(splits: Sequence[PairHistogram]) -> PairHistogram:
    same = torch.stack([pairs.same for pairs in splits]).sum(0)
    different = torch.stack([pairs.different for pairs in splits]).sum(0)
    return PairHistogram(same, different, splits[0].low, splits[0].high)


def _visible(density: Tensor, edges: Tensor) -> tuple[float, float]:
    """The range of scores that holds all but a thousandth of the mass at each end, and a bin more."""
    share = density.cumsum(0) / density.sum()
    first = int((share < 1e-3).sum())
    last = int((share < 1 - 1e-3).sum()) + 1
    return float(edges[max(first - 1, 0)]), float(edges[min(last + 1, len(edges) - 1)])


def _mark_rates(axes: "Axes", marks: list[tuple[float, float, float]], top: float) -> None:
    """A line at each (threshold, FPR, TPR) with a label.

    Labels stand on the emptier side, and the outermost line is the highest, so that no line runs through a label.
    """
    middle = float(sum(axes.get_xlim())) / 2
    to_left = fmean(score for score, _, _ in marks) > middle
    for place, (score, fpr, tpr) in enumerate(sorted(marks, reverse=to_left)):
        height = top * (0.98 - 0.08 * place)
        axes.vlines(score, 0, height, color=INK, linewidth=0.9, linestyle=(0, (3, 2)))
        axes.annotate(
            f"FPR {100 * fpr:g} %: TPR {100 * tpr:.1f} %",
            (score, height),
            xytext=(-4 if to_left else 4, 0),
            textcoords="offset points",
            ha="right" if to_left else "left",
            va="top",
            color=INK,
            fontsize=8.5,
        )
