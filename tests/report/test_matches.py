"""Lines between matched places: they join what the matcher joined, where it lies in the images."""

import numpy as np
import torch

from passerby.matching.maps import MapLayout
from passerby.matching.qaconv import MSQAConv
from passerby.report.matches import LINES, MatchedPair, match_figure


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
