"""Pictures of gates: what they show is what the gates and the logs say."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from passerby.models.norm import BatchInstanceNorm2d
from passerby.report.gates import gate_cards, gates_figure, read_pushes


def network() -> nn.Module:
    layers = [BatchInstanceNorm2d(10) for _ in range(3)]
    layers[1].gate.data[:3] = 0.1
    layers[2].gate.data[:] = 0.5
    return nn.Sequential(*layers)


def run(folder: Path) -> Path:
    for part, rows in enumerate(
        (["0,0.5,0.25,0.9", "10,0.4,,", "20,0.3,0.75,0.1"], ["20,0.3,0.5,0.2", "40,0.2,1.0,0.4"])
    ):
        log = folder / "logs" / f"part-{part}" / "metrics.csv"
        log.parent.mkdir(parents=True)
        log.write_text("\n".join(["step,loss,gate_push/scatter,gate_push/triplet", *rows]) + "\n")
    return folder


def bars(svg: str, series: int) -> list[float]:
    """Heights of the bars of a colour, in points."""
    paths = re.findall(rf'<path d="([^"]+)"[^>]*fill: var\(--series-{series},', svg)
    heights = []
    for path in paths:
        y = [float(value) for value in re.findall(r"[ML] [\d.]+ ([\d.]+)", path)]
        heights.append(max(y) - min(y))
    return heights


def test_bars_are_shares_of_gates() -> None:
    gates = [layer.gate.detach() for layer in network().children()]
    svg = gates_figure(gates)
    lowest, middle, highest = bars(svg, 1), bars(svg, 3), bars(svg, 5)
    whole = highest[0]
    assert lowest[1] / whole == pytest.approx(0.3, abs=0.01)
    assert highest[1] / whole == pytest.approx(0.7, abs=0.01)
    assert middle[2] / whole == pytest.approx(1, abs=0.01)


def test_a_network_without_gates_has_no_cards(tmp_path: Path) -> None:
    assert gate_cards(nn.Sequential(nn.BatchNorm2d(3)), run(tmp_path)) == []


def test_cards_say_the_means(tmp_path: Path) -> None:
    gates, pushes = gate_cards(network(), run(tmp_path))
    mean = float(torch.cat([m.gate for m in network().children()]).mean())
    assert f"{mean:.3f}" in gates.note
    assert "10.0 % are nearer to instance norm" in gates.note  # 3 of 30
    assert "scatter 58 %, triplet 50 %" in pushes.note
    assert len(gate_cards(network(), None)) == 1
    assert len(gate_cards(network(), tmp_path / "elsewhere")) == 1


def test_logs_of_a_resumed_run_are_one_line(tmp_path: Path) -> None:
    assert read_pushes(run(tmp_path)) == {
        "scatter": [(0, 0.25), (20, 0.5), (40, 1.0)],
        "triplet": [(0, 0.9), (20, 0.2), (40, 0.4)],
    }
