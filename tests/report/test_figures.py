import re
from xml.etree import ElementTree

import pytest
import torch

from passerby.evaluation.ranking_labels import Labels
from passerby.evaluation.ranking_pairs import BINS, PairHistogram, pair_histogram
from passerby.report.figures import cmc_figure, histogram_figure, threshold

SVG = "{http://www.w3.org/2000/svg}"
RATES = {1e-3: 0.25, 1e-1: 0.875}


def texts(svg: str) -> list[str]:
    return ["".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def ids(svg: str) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', svg))


def pairs(seed: int = 0) -> PairHistogram:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(30, 90, generator=generator) * 0.6
    labels = Labels(torch.arange(30), torch.arange(90) % 30)
    scores[labels.query_ids[:, None] == labels.gallery_ids] += 0.3
    return pair_histogram([scores], labels)


def bands(svg: str) -> int:
    return svg.count("opacity: 0.18")


def test_cmc_names_every_target_and_has_a_band_only_where_there_are_splits() -> None:
    curve = torch.linspace(0.4, 1, 50, dtype=torch.float64)
    svg = cmc_figure([("one split", curve[None]), ("two splits", torch.stack([curve, curve**2]))])
    assert {"one split", "two splits", "1", "5", "10", "20", "50"} <= set(texts(svg))
    assert bands(svg) == 1
    assert bands(cmc_figure([("one split", curve[None])])) == 0


def test_cmc_line_lies_where_the_mean_is() -> None:
    svg = cmc_figure([("flat", torch.tensor([[0.2] * 50, [0.6] * 50]))])
    line = re.search(r'<path d="([^"]+)"[^>]*style="fill: none; stroke: var\(--series-1', svg)
    assert line is not None
    y = [float(value) for value in re.findall(r"[ML] [\d.]+ ([\d.]+)", line[1])]
    tick = {label: float(at) for at, label in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>(0|100|40)</text>', svg)}
    assert max(y) - min(y) < 1e-3
    # The label of 40 % stands beside the line: the same offset as any other label's from its height.
    assert (y[0] - tick["100"]) / (tick["0"] - tick["100"]) == pytest.approx(0.6, abs=0.03)


def test_more_targets_than_colours() -> None:
    curve = torch.linspace(0.4, 1, 12, dtype=torch.float64)[None]
    names = [f"target {n}" for n in range(14)]
    assert set(names) <= set(texts(cmc_figure([(name, curve) for name in names])))


@pytest.mark.parametrize("name", ["<b>&", "a $x$ b $", "#0072b2", "fill: #0072b2"])
def test_names_are_escaped_and_are_no_mathematics(name: str) -> None:
    assert name in texts(cmc_figure([(name, torch.ones(1, 5))]))


def test_histogram_marks_its_rates() -> None:
    labels = texts(histogram_figure([pairs(0), pairs(1)], RATES, "scores"))
    assert {"same person", "different people", "FPR 0.1 %: TPR 25.0 %", "FPR 10 %: TPR 87.5 %"} <= set(labels)


def test_figures_of_one_page_share_no_id_and_leave_colours_to_it() -> None:
    svgs = [histogram_figure([pairs()], RATES, name) for name in ("one", "two")]
    svgs.append(cmc_figure([("t", torch.ones(2, 50))]))
    assert all(ids(svg) for svg in svgs)
    assert sum(len(ids(svg)) for svg in svgs) == len(set.union(*(ids(svg) for svg in svgs)))
    for svg in svgs:
        assert svg.startswith("<svg")
        assert {"--ink", "--grid", "--series-1"} <= set(re.findall(r"var\((--[\w-]+), #", svg))
        assert not re.search(r"(?:href|src)=\"(?!#)", svg)
        references = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
        assert references <= ids(svg)


def test_the_same_figure_is_the_same_text() -> None:
    assert histogram_figure([pairs()], RATES, "a") == histogram_figure([pairs()], RATES, "a")


@pytest.mark.parametrize("fpr", [0.0, 1e-3, 0.05, 0.5, 1.0])
def test_threshold_is_the_lowest_edge_that_accepts_no_more(fpr: float) -> None:
    histogram = pairs()
    cut = threshold(histogram, fpr)
    edges = torch.linspace(-1, 1, BINS + 1, dtype=torch.float64)[:-1]
    width = 2 / BINS
    total = int(histogram.different.sum())
    assert int(histogram.different[edges > cut - width / 2].sum()) <= fpr * total
    if cut > -1 + width / 2:
        assert int(histogram.different[edges > cut - 3 * width / 2].sum()) > fpr * total
    accepted = histogram.same[edges > cut - width / 2].sum() / histogram.same.sum()
    assert float(accepted) == pytest.approx(histogram.tpr(fpr))


def test_all_scores_alike_can_be_drawn() -> None:
    same, different = torch.zeros(BINS, dtype=torch.int64), torch.zeros(BINS, dtype=torch.int64)
    same[-1], different[-1] = 3, 5
    assert "same person" in texts(histogram_figure([PairHistogram(same, different, -1.0, 1.0)], RATES, "s"))
