"""Lines between matched places: they join what the matcher joined, where it lies in the images."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from passerby.matching.maps import MapLayout
from passerby.matching.qaconv import MSQAConv
from passerby.matching.settings import MatcherSettings
from passerby.report.matches import LINES, MatchedPair, match_figure, view_names


def test_lines_join_the_places_that_look_alike() -> None:
    # Two images of bands of colour, the second one upside down.
    bands = np.zeros((64, 32, 3), np.uint8)
    for row in range(4):
        bands[16 * row : 16 * row + 16] = [60 * row, 255 - 60 * row, 128]
    matcher = MSQAConv(MapLayout(4, ((4, 1),))).eval()
    maps = torch.eye(4).view(1, 1, 4, 4, 1)
    rows = matcher.layout.row([maps]), matcher.layout.row([maps.flip(3)])
    pair = MatchedPair(bands, bands[::-1], matcher.explain(rows[0][0], rows[1][0]))
    figure = match_figure([pair], ["DI"], ["same person"])
    (axes,) = figure.axes
    lines = [np.column_stack(line.get_data()) for line in axes.get_lines()]
    assert 4 == len(lines) <= LINES
    for (x, y), (to_x, to_y) in lines:
        assert 0 <= x <= 32 < to_x
        assert y + to_y == 64, "upside down"
        assert tuple(bands[int(y), int(x)]) == tuple(bands[::-1][int(to_y), 5])
    assert axes.get_title() == "DI"


def test_of_lines_that_would_hide_each_other_one_is_drawn() -> None:
    # Four rows of three places each: in a row all three find their own like, side by side.
    maps = torch.eye(12).view(1, 1, 12, 4, 3)
    matcher = MSQAConv(MapLayout(12, ((4, 3),))).eval()
    row = matcher.layout.row([maps])[0]
    black = np.zeros((64, 32, 3), np.uint8)
    (axes,) = match_figure([MatchedPair(black, black, matcher.explain(row, row))], [""], [""]).axes
    heights = [tuple(line.get_ydata()) for line in axes.get_lines()]
    assert sorted(heights) == [(8, 8), (24, 24), (40, 40), (56, 56)]


@pytest.mark.parametrize(
    ("specific", "invariant", "named"),
    [
        ("attention", "mix", ["one", "two", "DI"]),
        ("vote", "none", ["one", "two"]),
        ("none", "batch", ["DI"]),
        ("none", "none", [""]),
    ],
)
def test_views_stand_in_the_order_of_the_rows(specific: Any, invariant: Any, named: list[str]) -> None:
    matcher = MatcherSettings(kind="qaconv", specific=specific, invariant=invariant)
    model: Any = SimpleNamespace(architecture=SimpleNamespace(matcher=matcher), domains=2)
    assert view_names(model, ["one", "two"]) == named
    unnamed = [name.replace("one", "expert 1").replace("two", "expert 2") for name in named]
    assert view_names(model, []) == unnamed
