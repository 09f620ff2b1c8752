"""Pictures of the bank: what they show is what the statistics are; related domains lie close together in it."""

import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from passerby.data.images import Preprocessing, to_tensor
from passerby.data.synthetic.dataset import SyntheticDomain
from passerby.models.model import Architecture, Model
from passerby.models.norm import Bank, DomainNorm2d
from passerby.models.norm_kinds import BankSettings
from passerby.models.route import Route
from passerby.report.bank import bank_cards, curves_figure, distances_figure

NAMES = ("north", "south", "east")


def network(domains: int = 3, layers: int = 5) -> nn.Sequential:
    built = nn.Sequential(*(DomainNorm2d(4, domains) for _ in range(layers)))
    for layer in built.children():
        assert isinstance(layer, DomainNorm2d)
        for k in range(domains):
            layer.running_mean[k] = float(k * k)
    return built


def test_distances_are_wassersteins_in_pooled_deviations() -> None:
    generator = torch.Generator().manual_seed(0)
    bank = Bank(torch.randn(3, 5, generator=generator).double(), 0.5 + torch.rand(3, 5, generator=generator).double())
    _, pooled = bank.pooled()
    found = bank.distances(1e-3)
    for a in range(3):
        for b in range(3):
            squares = (bank.mean[a] - bank.mean[b]) ** 2 + (bank.variance[a] ** 0.5 - bank.variance[b] ** 0.5) ** 2
            assert float(found[a, b]) == pytest.approx(float((squares / (pooled + 1e-3)).mean().sqrt()))


def test_cards_name_the_nearest_and_the_farthest_domains() -> None:
    *curves, apart = bank_cards(network(), NAMES)
    assert len(curves) == 4
    assert [card.title for card in curves] == [f"Statistics of the training domains: {k}" for k in (0, 1, 3, 4)]
    distances = next(iter(network().children())).bank.distances(1e-5)  # type: ignore[operator, union-attr]
    assert f"Nearest on average: north and south {distances[0, 1]:.2f}" in apart.note
    assert f"farthest: north and east {distances[0, 2]:.2f}" in apart.note
    for name in NAMES:
        assert name in curves[0].chart


def test_a_curve_is_the_mean_in_pooled_deviations() -> None:
    layer = DomainNorm2d(2, 2)
    layer.running_mean.copy_(torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
    svg = curves_figure(layer, ["one", "two"])
    paths = re.findall(
        r'<path d="M ([\d.]+) ([\d.]+)\s+L ([\d.]+) ([\d.]+)\s*" clip-path[^>]*stroke: var\(--series-(\d)', svg
    )
    heights = {series: (float(a), float(b)) for _, a, _, b, series in paths}
    (start_one, end_one), (start_two, end_two) = heights["1"], heights["2"]
    assert start_one == start_two  # both at 0 in the first channel
    assert end_one - start_one == pytest.approx(start_two - end_two, rel=1e-3)  # -1 and 1, over the same deviation
    assert end_two < start_two  # upwards


def test_rounding_is_not_drawn_as_curves_and_the_note_says_that_means_are_equal() -> None:
    layer = DomainNorm2d(2, 2)
    layer.running_mean.copy_(torch.tensor([[0.0, 0.0], [0.0, 1e-7]]))
    assert "the same mean here" in bank_cards(layer, NAMES)[0].note
    assert "the same mean" not in bank_cards(network(), NAMES)[0].note
    heights = [y for line in lines_of(curves_figure(layer, ["one", "two"])) for _, y in line]
    assert max(heights) - min(heights) < 0.1


def lines_of(svg: str) -> list[list[tuple[float, float]]]:
    """Points of each line of a chart of several series, in order."""
    paths = re.findall(r'<path d="([^"]*)" clip-path[^>]*stroke: var\(--series-\d', svg)
    return [[(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)] for path in paths]


def test_a_curve_for_each_domain_over_the_first_to_the_last_channel() -> None:
    layer = DomainNorm2d(100, 3)
    layer.running_mean.copy_(torch.arange(3.0)[:, None] * torch.linspace(0, 1, 100))
    svg = curves_figure(layer, NAMES)
    curves = lines_of(svg)
    assert len(curves) == 3
    assert all(name in svg for name in NAMES)
    middle = curves[1]
    assert all(x == other for (x, _), (other, _) in zip(curves[0], curves[2], strict=True))
    # Domain 1 lies at the pooled mean in every channel, 0 below and 2 above it; in the first channel all are the same.
    assert [y for _, y in middle] == pytest.approx([middle[0][1]] * len(middle), abs=1e-3)
    assert [curve[0][1] for curve in curves] == pytest.approx([middle[0][1]] * 3, abs=1e-3)
    assert middle[-1][0] == max(x for x, _ in middle)
    assert curves[2][-1][1] < middle[-1][1] < curves[0][-1][1]


def test_a_line_for_each_pair_over_the_layers() -> None:
    apart = torch.zeros(4, 3, 3)
    apart[:, 0, 1] = torch.tensor([1.0, 2, 3, 4])
    apart[:, 1, 2] = 2
    svg = distances_figure(apart, [(0, 1), (1, 2)], NAMES)
    rising, level = lines_of(svg)
    assert "north - south" in svg
    assert "south - east" in svg
    assert "north - east" not in svg
    steps = [a - b for (_, a), (_, b) in pairwise(rising)]
    assert steps == pytest.approx([steps[0]] * 3, abs=1e-3)
    assert steps[0] > 0
    assert {y for _, y in level} == {rising[1][1]}


def test_many_domains_and_missing_names() -> None:
    cards = bank_cards(network(domains=7), ["only"])
    assert "domain 6" in cards[0].chart
    assert "The nearest 12 of 21 pairs are drawn" in cards[-1].note
    assert "<svg" in distances_figure(torch.rand(3, 2, 2), [(0, 1)], ["a$", "b<c"])


def test_a_set_of_images_of_all_domains_is_none_of_them() -> None:
    of_three, of_four = network(domains=3), network(domains=4)
    for layer in of_four.children():
        assert isinstance(layer, DomainNorm2d)
        layer.experts = 3
    assert bank_cards(of_four, NAMES) == bank_cards(of_three, NAMES)


def test_one_domain_has_curves_alone_and_a_plain_network_no_cards() -> None:
    assert all("Statistics" in card.title for card in bank_cards(network(domains=1), NAMES))
    assert bank_cards(nn.Sequential(nn.BatchNorm2d(3)), NAMES) == []


def test_two_cameras_of_one_scene_lie_closer_than_two_scenes() -> None:
    """The poster's observation on CUHK02 and CUHK03, on synthetic domains."""
    size = (64, 32)
    parts, domains = [], []
    for scene, name in enumerate(("sunny-plaza", "snowy-street")):
        place = SyntheticDomain(name, 40, size=size)
        for camera in range(2):
            chosen = np.flatnonzero(place.camera == camera)[:24]
            parts.append(place.render(chosen))
            domains += [2 * scene + camera] * len(chosen)
    preprocessing = Preprocessing(height=size[0], width=size[1])
    torch.manual_seed(0)
    model = Model(Architecture(backbone="test_resnet", norm="domain", bank=BankSettings(domains=4)), preprocessing)
    layers = [m for m in model.modules() if isinstance(m, DomainNorm2d)]
    for layer in layers:
        layer.momentum = None
    with torch.no_grad():
        model(preprocessing.normalise(to_tensor(np.concatenate(parts))), Route(torch.tensor(domains)))
    apart = torch.stack([layer.bank.distances(layer.eps) for layer in layers]).mean(0)
    within = torch.stack([apart[0, 1], apart[2, 3]])
    between = apart[:2, 2:]
    assert float(within.max()) < float(between.min())
