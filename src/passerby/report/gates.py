"""Pictures of the gates of batch-instance norms: where they ended, and where the meta-train losses pushed them."""

import csv
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor, nn

from passerby.models.norm import BatchInstanceNorm2d, OneAffineBatchInstanceNorm2d
from passerby.report.cards import Card
from passerby.report.drawing import INK, SERIES, WIDTH, new_axes, to_svg

BANDS = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0))
PUSH = "gate_push/"
"""Prefix of the logged shares of gates that a loss pushes towards instance norm."""


def gate_cards(model: nn.Module, run: Path | None) -> list[Card]:
    """The cards of a model with gates, none of another.

    Args:
        model: any network.
        run: folder of the run that trained it, where it is known: its logs say how the losses pushed.
    """
    layers = [
        m.gate.detach() for m in model.modules() if isinstance(m, (BatchInstanceNorm2d, OneAffineBatchInstanceNorm2d))
    ]
    if not layers:
        return []
    gates = torch.cat(layers)
    cards = [
        Card(
            "Gates by layer",
            gates_figure(layers),
            f"Share of each layer's channels by rho, first layer left: 1 is batch norm, 0 is instance norm. Mean over all "
            f"{len(gates):,} gates: {gates.mean():.3f}; {100 * (gates < 0.5).double().mean():.1f} % are nearer to instance "
            f"norm. (MetaBIN, Fig. 4)",
            "Shares of gates by layer, from batch norm to instance norm",
        )
    ]
    pushes = read_pushes(run) if run else {}
    if pushes:
        last = ", ".join(
            f"{name} {100 * sum(s for _, s in points) / len(points):.0f} %" for name, points in pushes.items()
        )
        cards.append(
            Card(
                "Where each meta-train loss pushes the gates",
                pushes_figure(pushes),
                f"Share of gates whose inner step under that loss alone goes towards instance norm; at 50 % it pushes neither "
                f"way. Mean over the run: {last}. (MetaBIN, Fig. 5)",
                "Share of gates pushed towards instance norm by each meta-train loss, over the run",
            )
        )
    return cards


def gates_figure(layers: list[Tensor]) -> str:
    """Stacked bars, a layer each: the share of its gates in each fifth of [0, 1].

    Args:
        layers: gates of each layer, [C], first layer first.

    Returns:
        an <svg> element, coloured as `cmc_figure` is.
    """
    figure, axes = new_axes(2 * WIDTH)
    places = list(range(1, len(layers) + 1))
    below = torch.zeros(len(layers))
    for number, (low, high) in enumerate(BANDS):
        share = torch.tensor([100 * float(((g >= low) & ((g < high) | (high == 1.0))).double().mean()) for g in layers])
        axes.bar(places, share, bottom=below, width=0.86, color=SERIES[number], label=f"{low:g} to {high:g}")
        below = below + share
    axes.set_xlim(0.4, len(layers) + 0.6)
    axes.set_ylim(0, 100)
    axes.set_xlabel("norm layer")
    axes.set_ylabel("share of gates, %")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, frameon=False, labelcolor=INK)
    return to_svg(figure, "gates")


def pushes_figure(pushes: dict[str, list[tuple[int, float]]]) -> str:
    """Lines over the run, a loss each: the share of gates that it pushes towards instance norm.

    Args:
        pushes: (step, share) of each loss.

    Returns:
        an <svg> element, coloured as `cmc_figure` is.
    """
    figure, axes = new_axes(2 * WIDTH)
    for number, (name, points) in enumerate(pushes.items()):
        axes.plot(
            [step for step, _ in points],
            [100 * s for _, s in points],
            color=SERIES[number],
            label=name,
            marker="o",
            markersize=3,
        )
    axes.axhline(50, color=INK, linewidth=0.8, linestyle=":")
    axes.set_ylim(0, 100)
    axes.set_xlabel("step")
    axes.set_ylabel("pushed towards IN, %")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(pushes), frameon=False, labelcolor=INK)
    return to_svg(figure, "gate-pushes")


def read_pushes(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What the logs of a run say of the losses' pushes: (step, share of gates) of each loss, in order of steps."""
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for log in sorted((run / "logs").glob("part-*/metrics.csv")):
        with log.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                for key, value in row.items():
                    if key.startswith(PUSH) and value:
                        found[key.removeprefix(PUSH)].append((int(row["step"]), float(value)))
    return {name: sorted(dict(points).items()) for name, points in found.items()}
