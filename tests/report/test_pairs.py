"""Cards of mined pairs."""

from pathlib import Path

import numpy as np
import pytest

from passerby.report.pairs import (
    COLUMNS,
    CURVES,
    ShownPair,
    curve_cards,
    pairs_card,
    pairs_figure,
    read_curves,
    running_mean,
)


def write_logs(run: Path, rows: list[str], header: str = "step,precision,reliability_right,loss") -> None:
    for part in range(2):  # a resumed run: the second part goes on where the first was cut
        folder = run / "logs" / f"part-{part}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text("\n".join([header, *rows[part::2]]) + "\n")


def test_curves_are_read_over_all_parts_of_a_run(tmp_path: Path) -> None:
    write_logs(tmp_path, ["9,0.25,0.5,1", "19,0.5,,1", "29,0.75,0.6,1", "39,,,2"])
    curves = read_curves(tmp_path)
    assert curves["precision"] == [(9, 0.25), (19, 0.5), (29, 0.75)]
    assert curves["reliability_right"] == [(9, 0.5), (29, 0.6)]
    assert curves["reliability_wrong"] == []
    (card,) = curve_cards(tmp_path)
    assert "25 % in the first tenth of the run, 75 % in the last" in card.note
    assert CURVES["precision"] in card.chart
    assert CURVES["reliability_wrong"] not in card.chart


def test_without_truth_there_is_no_curve(tmp_path: Path) -> None:
    write_logs(tmp_path, ["9,1.0", "19,0.9"], "step,loss")
    assert curve_cards(tmp_path) == []
    assert curve_cards(tmp_path / "nowhere") == []


@pytest.mark.parametrize("count", [1, COLUMNS, COLUMNS + 1])
def test_pairs_are_drawn_with_their_reliability_and_truth(count: int) -> None:
    crop = np.full((8, 4, 3), 90, np.uint8)
    truths = (True, False, None)
    pairs = [ShownPair(crop, crop, 0.1 + 0.05 * n, truths[n % 3]) for n in range(count)]
    chart = pairs_figure(pairs)
    assert chart.count("<image ") == 2 * count
    assert chart.count(" right</text>") == len(pairs[::3])
    assert chart.count(" wrong</text>") == len(pairs[1::3])
    assert ">0.10 right<" in chart
    rows = 1 + (count > COLUMNS)
    assert f'height="{rows * 124}"' in chart
    card = pairs_card(pairs)
    known = len(pairs[::3]) + len(pairs[1::3])
    assert f"{len(pairs[::3])} of {known} show one person" in card.note
    assert "show one person" not in pairs_card([ShownPair(crop, crop, 0.5, None)]).note


def test_a_running_mean_is_of_the_neighbours_that_there_are() -> None:
    assert running_mean([1.0, 2.0, 4.0]) == [1.0, 2.0, 4.0]
    values = [float(n % 3) for n in range(40)]
    smooth = running_mean(values)
    assert smooth[20] == sum(values[18:23]) / 5
    assert smooth[0] == sum(values[:3]) / 3
    assert smooth[-1] == sum(values[-3:]) / 3
