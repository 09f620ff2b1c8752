"""Boxes: overlaps against the plain formula, names by truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerby.data.video.boxes import Boxes, name_by_truth, overlaps

box = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 40), st.integers(0, 40)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(st.lists(box, min_size=1, max_size=5), st.lists(box, min_size=1, max_size=5))
def test_overlaps_are_shared_pixels_over_all(first: list[tuple[int, ...]], second: list[tuple[int, ...]]) -> None:
    found = overlaps(np.array(first, float), np.array(second, float))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            grid = np.zeros((2, 100, 100), bool)
            grid[0, a[1] : a[3], a[0] : a[2]] = True
            grid[1, b[1] : b[3], b[0] : b[2]] = True
            expected = (grid[0] & grid[1]).sum() / max((grid[0] | grid[1]).sum(), 1)
            assert found[i, j] == pytest.approx(expected)


def test_truth_names_one_detection_each() -> None:
    truth = Boxes(np.array([[0, 0, 10, 20], [100, 0, 110, 20], [200, 0, 210, 20.0]]), np.ones(3), np.array([7, 8, 9]))
    found = Boxes(
        np.array([[101, 0, 111, 20], [0, 1, 10, 20], [0, 0, 10, 19], [50, 50, 60, 60.0], [204, 0, 214, 20]]), np.ones(5)
    )
    named = name_by_truth(found, truth)
    assert named.identity is not None
    assert named.identity.tolist()[0] == 8
    assert sorted(named.identity.tolist()[1:3]) == [-1, 7]  # two boxes on one person: one of them is nobody's
    assert named.identity.tolist()[3:] == [-1, -1]  # off, and overlapping too little
    assert name_by_truth(found.take(np.arange(0)), truth).identity is not None


def test_boxes_are_cut_at_the_frame() -> None:
    cut = Boxes(np.array([[-3.5, 2.2, 10.1, 99.0]]), np.ones(1)).within(50, 40)
    assert cut.xyxy.tolist() == [[0, 2, 11, 50]]
