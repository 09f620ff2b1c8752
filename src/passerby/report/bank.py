"""Pictures of a bank: the statistics of each training domain by channel and layer, and how far the domains lie apart."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from passerby.models.norm import Bank, DomainNorm2d
from passerby.report.cards import Card
from passerby.report.drawing import DASHES, INK, SERIES, WIDTH, new_axes, to_svg

CURVES = 4
"""Layers whose curves are drawn, evenly from the first to the last."""
CHANNELS = 48
"""Channels that a curve shows at most: more cannot be told apart."""
LEAST_HEIGHT = 0.05
"""How far up and down the axis of curves reaches at least, or rounding would look like curves."""
ROUNDING = 1e-4
"""Means that lie closer than this, in pooled deviations, are told as equal."""
PAIRS = 12
"""Pairs of domains whose distances are drawn at most: the nearest."""


def bank_cards(model: nn.Module, names: Sequence[str]) -> list[Card]:
    """The cards of a model with statistics of domains, none of another.

    Args:
        model: any network.
        names: of the domains, in order; what is missing is numbered.
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, DomainNorm2d)}
    if not layers:
        return []
    domains = next(iter(layers.values())).experts
    labels = [*names[:domains], *(f"domain {k}" for k in range(len(names), domains))]
    chosen = [list(layers)[round(i * (len(layers) - 1) / (CURVES - 1))] for i in range(CURVES)]
    cards = [
        Card(
            f"Statistics of the training domains: {name}",
            curves_figure(layers[name], labels),
            f"Mean of every channel in each training domain's statistics, at layer {list(layers).index(name) + 1} of {len(layers)}, in "
            f"units of the pooled deviation from the pooled mean; {_shown(layers[name])}. {_said(layers[name])} (LDA's Buffer Bank, the "
            "poster's figure)",
            f"Curves over channels of each domain's mean at {name}",
        )
        for name in dict.fromkeys(chosen)
    ]
    if domains > 1:
        apart = torch.stack([_bank(layer).distances(layer.eps) for layer in layers.values()]).cpu()
        cards.append(_distance_card(apart, labels))
    return cards


def curves_figure(layer: DomainNorm2d, labels: Sequence[str]) -> str:
    """A curve over channels for each domain: how far its mean lies from the pooled mean, in pooled deviations.

    Args:
        layer: with the bank; of many channels, `CHANNELS` evenly chosen ones.
        labels: of the domains.

    Returns:
        an <svg> element, coloured as `cmc_figure` is.
    """
    channels = _channels(layer)
    away = _away(layer)[:, channels]
    figure, axes = new_axes(2 * WIDTH)
    for k, label in enumerate(labels):
        axes.plot(channels.tolist(), away[k].tolist(), label=label, **_look(k))
    height = max(LEAST_HEIGHT, 1.05 * float(away.abs().max()))
    axes.set_ylim(-height, height)
    axes.set_xlabel("channel")
    axes.set_ylabel("mean, in pooled deviations")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(6, len(labels)), frameon=False, labelcolor=INK)
    return to_svg(figure, "bank-curves")


def distances_figure(apart: Tensor, pairs: Sequence[tuple[int, int]], labels: Sequence[str]) -> str:
    """A line over layers for each pair of domains: how far their statistics lie apart.

    Args:
        apart: [layers, K, K].
        pairs: the pairs to draw.
        labels: of the domains.

    Returns:
        an <svg> element, coloured as `cmc_figure` is.
    """
    figure, axes = new_axes(2 * WIDTH)
    places = range(1, len(apart) + 1)
    for number, (a, b) in enumerate(pairs):
        axes.plot(places, apart[:, a, b].tolist(), label=f"{labels[a]} - {labels[b]}", **_look(number))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("norm layer")
    axes.set_ylabel("distance")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, labelcolor=INK)
    return to_svg(figure, "bank-distances")


def _distance_card(apart: Tensor, labels: Sequence[str]) -> Card:
    mean = apart.mean(0)
    pairs = sorted(combinations(range(len(labels)), 2), key=lambda pair: float(mean[pair]))
    said = [f"{labels[a]} and {labels[b]} {float(mean[a, b]):.2f}" for a, b in (pairs[0], pairs[-1])]
    between = f"Nearest on average: {said[0]}" + (f"; farthest: {said[1]}" if len(pairs) > 1 else "")
    drawn = "" if len(pairs) <= PAIRS else f" The nearest {PAIRS} of {len(pairs)} pairs are drawn."
    return Card(
        "How far the training domains lie apart",
        distances_figure(apart, pairs[:PAIRS], labels),
        f"Distance of the domains' statistics by layer: Wasserstein's between their Gaussians, root mean square over channels, in "
        f"pooled deviations. {between}.{drawn}",
        "Distance of each pair of training domains by layer",
    )


def _bank(layer: DomainNorm2d) -> Bank:
    return Bank(*(statistics[: layer.experts] for statistics in layer.bank))


def _away(layer: DomainNorm2d) -> Tensor:
    """How far each domain's mean lies from the pooled mean, in pooled deviations: [K, C]."""
    bank = _bank(layer)
    mean, variance = bank.pooled()
    return ((bank.mean - mean) * (variance + layer.eps).rsqrt()).cpu()


def _channels(layer: DomainNorm2d) -> Tensor:
    count = layer.running_mean.shape[1]
    return torch.linspace(0, count - 1, min(count, CHANNELS)).round().long()


def _shown(layer: DomainNorm2d) -> str:
    count, shown = layer.running_mean.shape[1], len(_channels(layer))
    return f"all {count} channels" if shown == count else f"{shown} of its {count} channels"


def _said(layer: DomainNorm2d) -> str:
    """What to see in the curves: in the linear bottlenecks of MobileNetV2 nothing, and why."""
    if _away(layer).abs().max() < ROUNDING:
        return (
            "All domains have the same mean here, as behind norms of each domain with no nonlinearity in between; "
            "their variances may differ."
        )
    return "Curves of related domains lie close together."


def _look(number: int) -> dict[str, Any]:
    """Colour and dashes that tell lines apart, also beyond the number of colours."""
    return {
        "color": SERIES[number % len(SERIES)],
        "linestyle": DASHES[number // len(SERIES) % len(DASHES)],
    }
