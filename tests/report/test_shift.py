"""Pictures of a diagnosis: a bar for every layer, the farthest layers by name, and a line for what changes."""

import math
import re
from typing import Any

import pytest
import torch

from passerby.adaptation.shift import LayerShift
from passerby.report import shift as module
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


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of every figure, as it is drawn."""
    axes, draw = [], module.to_svg

    def watched(figure: Any, name: str) -> str:
        axes.extend(figure.axes)
        return draw(figure, name)

    monkeypatch.setattr(module, "to_svg", watched)
    return axes


def lines(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    """The points of each line by its name in the legend."""
    return {
        line.get_label(): tuple([float(v) for v in values] for values in (line.get_xdata(), line.get_ydata()))
        for line in axes.get_lines()
    }


def gaussian(value: float, mean: float, deviation: float) -> float:
    return math.exp(-0.5 * ((value - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))


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
    assert "nan" not in svg.lower()
    assert "$" not in svg
    assert ">weight<" not in svg
    assert all(card.chart.startswith("<svg") and card.description for card in cards)


def test_a_layer_that_sees_one_value_alone_is_drawn() -> None:
    dead = LayerShift("a", torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    assert "nan" not in gaussians_figure([dead]).lower()


def test_gaussians_are_those_of_the_channels(drawn: list[Any]) -> None:
    channels = {"a": [(1.5, 0.5), (-2.0, 1.25)], "backbone.network.b": [(0.75, 2.0)]}
    gaussians_figure(
        [
            LayerShift(name, *(torch.tensor(v, dtype=torch.float64) for v in zip(*pairs, strict=True)))
            for name, pairs in channels.items()
        ]
    )
    found = lines(drawn[0])
    assert list(found) == ["a", "b", "as trained"]
    expected = [*channels.values(), [(0.0, 1.0)]]
    for (grid, density), pairs in zip(found.values(), expected, strict=True):
        assert (grid[0], grid[-1]) == (-5, 5)
        for x, y in zip(grid, density, strict=True):
            assert y == pytest.approx(sum(gaussian(x, *pair) for pair in pairs) / len(pairs), rel=1e-6)


def test_changes_are_in_percent_layer_by_layer(drawn: list[Any]) -> None:
    changes_figure({"mean": [0.125, 0.25, 2.0], "bias": [0.5, 0.03]})
    assert lines(drawn[0]) == {"mean": ([1, 2, 3], [12.5, 25, 200]), "bias": ([1, 2], [50, 3])}
    assert drawn[0].get_ylabel() == "change, %"


def test_distances_are_drawn_over_their_own_layers(drawn: list[Any]) -> None:
    distances_figure(layers(1, 2, 0.5), layers(0.25, 3, 0))
    bars = drawn[0].patches
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx([1, 2, 3])
    assert [bar.get_height() for bar in bars] == [1, 2, 0.5]
    assert lines(drawn[0]) == {"adapted": ([1, 2, 3], [0.25, 3, 0])}


def test_a_diagnosis_draws_what_was_adapted_beside_what_was_not(drawn: list[Any]) -> None:
    shift_cards(layers(1, 4), layers(2, 0.5), {"mean": [0.1, 0.4]})
    distances, gaussians, changes = drawn
    assert [bar.get_height() for bar in distances.patches] == [1, 4]
    assert lines(distances)["adapted"][1] == [2, 0.5]
    assert list(lines(gaussians)) == ["norm1", "norm0", "as trained"]
    assert lines(changes)["mean"][1] == pytest.approx([10, 40])
