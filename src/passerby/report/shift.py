"""Pictures of how far a place lies from what a model's batch norms know."""

from collections.abc import Sequence

import numpy as np
import torch

from passerby.adaptation.shift import LayerShift
from passerby.report.cards import Card
from passerby.report.drawing import INK, SERIES, WIDTH, new_axes, to_svg

MOST_LAYERS = 4
SMALLEST_CHANGE = 1e-5
"""As a fraction; a smaller change has no point in the picture."""


def shift_cards(
    before: Sequence[LayerShift], after: Sequence[LayerShift] | None, changes: dict[str, list[float]]
) -> list[Card]:
    """The cards of a diagnosis.

    Args:
        before: of each batch norm, the model as it is.
        after: the same of the adapted model, or None.
        changes: of each kind of parameter (mean, variance, weight, bias), how much every batch norm's changed when the model
            adapted, as a fraction; empty where nothing adapted.
    """
    worst = sorted(before, key=lambda shift: -shift.distance)[:MOST_LAYERS]
    cards = [
        Card(
            "Distance by layer",
            distances_figure(before, after),
            "How far the input of each batch norm on these images lies from its running statistics, in running deviations, mean "
            "over its channels; first layer left. 0 is what the layer knows. (BNTA, Fig. 1)",
            "Distance of each batch norm's input from its running statistics",
        ),
        Card(
            "What the farthest layers put out",
            gaussians_figure(worst),
            f"The Gaussian that each batch norm believes in (dotted) and those of its channels on these images, pooled, in the "
            f"{len(worst)} layers that lie farthest. (BNTA, Fig. 1)",
            "Gaussians of the farthest layers against the one that batch norm expects",
        ),
    ]
    if changes:
        cards.append(
            Card(
                "What adapting changes",
                changes_figure(changes),
                "How much adapting changes each batch norm's parameters: variances and weights relative to their size, means to the "
                "running deviation, biases to the weights; a change of less than a thousandth of a per cent has no point. First "
                "layer left. (BNTA, Fig. 3)",
                "Change of each batch norm's parameters",
            )
        )
    return cards


def distances_figure(before: Sequence[LayerShift], after: Sequence[LayerShift] | None) -> str:
    """Bars of the distance of each layer, and a line of the same after adapting; an <svg> element."""
    figure, axes = new_axes(2 * WIDTH)
    places = np.arange(1, len(before) + 1)
    axes.bar(places, [s.distance for s in before], width=0.8, color=SERIES[0], label="as trained")
    if after is not None:
        axes.plot(places, [s.distance for s in after], color=SERIES[1], marker="o", markersize=3, label="adapted")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, labelcolor=INK)
    axes.set_xlim(0.4, len(before) + 0.6)
    axes.set_xlabel("batch norm")
    axes.set_ylabel("distance")
    return to_svg(figure, "distances")


def gaussians_figure(layers: Sequence[LayerShift]) -> str:
    """The pooled Gaussian mixture of each layer's channels beside the standard one; an <svg> element."""
    figure, axes = new_axes(2 * WIDTH)
    grid = torch.linspace(-5, 5, 201, dtype=torch.float64)
    for number, layer in enumerate(layers):
        spread = layer.deviation.double().clamp(min=1e-3)[:, None]
        density = torch.exp(-0.5 * ((grid - layer.mean.double()[:, None]) / spread) ** 2) / (
            spread * (2 * np.pi) ** 0.5
        )
        axes.plot(grid, density.mean(0), color=SERIES[number], label=layer.name.removeprefix("backbone.network."))
    axes.plot(grid, torch.exp(-0.5 * grid**2) / (2 * np.pi) ** 0.5, color=INK, linestyle=":", label="as trained")
    axes.set_xlabel("normalised value")
    axes.set_ylabel("density")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, labelcolor=INK)
    return to_svg(figure, "gaussians")


def changes_figure(changes: dict[str, list[float]]) -> str:
    """Lines over the layers, a kind of parameter each; an <svg> element."""
    from matplotlib.ticker import LogFormatter

    figure, axes = new_axes(2 * WIDTH)
    for number, (kind, values) in enumerate(changes.items()):
        places = range(1, len(values) + 1)
        axes.plot(
            places,
            [100 * v if v > SMALLEST_CHANGE else np.nan for v in values],
            color=SERIES[number],
            label=kind,
            marker="o",
            markersize=3,
        )
    axes.set_yscale("log")
    # The default labels are formulas, which no browser draws; those between the powers of ten are shown where few powers are.
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
    axes.set_xlabel("batch norm")
    axes.set_ylabel("change, %")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(changes), frameon=False, labelcolor=INK)
    return to_svg(figure, "changes")
