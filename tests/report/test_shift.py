"""Pictures of a diagnosis: a bar for every layer, the farthest layers by name, and a line for what changes."""

import re

import pytest
import torch

from passerby.adaptation.shift import LayerShift
from passerby.report.shift import MOST_LAYERS, changes_figure, distances_figure, gaussians_figure, shift_cards


def layers(*means: float) -> list[LayerShift]:
    return [
        LayerShift(f"backbone.network.norm{k}", torch.full((5,), mean, dtype=torch.float64), torch.ones(5))
        for k, mean in enumerate(means)
    ]


def heights(svg: str) -> list[float]:
    """Heights of the bars, in points."""
    found = []
    for path in re.findall(r'<path d="([^"]+)"[^>]*fill: var\(--series-1,', svg):
        y = [float(value) for value in re.findall(r"[ML] [\d.]+ ([\d.]+)", path)]
        found.append(max(y) - min(y))
    return found


def test_bars_are_the_distances() -> None:
    bars = heights(distances_figure(layers(1, 2, 0.5, 0), None))[:4]
    assert bars[1] == pytest.approx(2 * bars[0], rel=0.01)
    assert bars[2] == pytest.approx(0.5 * bars[0], rel=0.01)
    assert bars[3] == pytest.approx(0, abs=0.01)


def test_the_adapted_model_is_a_line_beside_them() -> None:
    alone, both = (distances_figure(layers(1, 2), after) for after in (None, layers(0.5, 0.5)))
    assert "adapted" not in alone
    assert "adapted" in both
    assert "stroke: var(--series-2," in both


def test_the_farthest_layers_are_named() -> None:
    distances, gaussians = shift_cards(layers(0.1, 3, 0.2, 2, 5, 1, 4), None, {})
    assert distances.title == "Distance by layer"
    named = set(re.findall(r">(norm\d)<", gaussians.chart))
    assert named == {"norm1", "norm3", "norm4", "norm6"}
    assert len(named) == MOST_LAYERS
    assert "as trained" in gaussians.chart
    assert "the 4 layers" in gaussians.note
    assert "the 2 layers" in shift_cards(layers(1, 2), None, {})[1].note


def test_a_line_for_every_kind_that_changes() -> None:
    changes = {"mean": [0.1, 0.2], "bias": [0.0, 0.3]}
    cards = shift_cards(layers(1, 2), layers(1, 1), changes)
    assert [card.title for card in cards][2:] == ["What adapting changes"]
    svg = changes_figure(changes)
    assert all(f">{kind}<" in svg for kind in changes)
    assert ">weight<" not in svg
    assert all(card.chart.startswith("<svg") and card.description for card in cards)


def test_a_layer_that_sees_one_value_alone_is_drawn() -> None:
    dead = LayerShift("a", torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    assert "nan" not in gaussians_figure([dead]).lower()
