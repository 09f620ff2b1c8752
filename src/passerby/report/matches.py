"""Lines between the places of two images that a matcher pairs, expert by expert (TAL, figure 6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from passerby.data.images import Pixels
from passerby.data.sample import Sample
from passerby.evaluation.measure import Measurement
from passerby.matching.explanation import MatchedPlaces
from passerby.models.matching_model import MatchingModel
from passerby.report.cards import Card
from passerby.report.drawing import INK, SERIES, to_svg
from passerby.report.galleries import best_and_worst

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Place = tuple[float, float]
"""(right, down) as fractions of an image's width and height."""
LINES = 8
"""Between two images, of each scale together."""
PAIRS = 2
"""Of images, of each kind."""
GAP = 0.35
"""Between two images, in widths of an image."""


@dataclass(frozen=True)
class MatchedPair:
    """Two images and what joins them.

    Attributes:
        query, gallery: RGB pixels, uint8 [H, W, 3].
        views: of each view, of each scale, the matched places.
    """

    query: Pixels
    gallery: Pixels
    views: list[list[MatchedPlaces]]


def match_cards(model: MatchingModel, measurements: Sequence[Measurement], experts: Sequence[str]) -> list[Card]:
    """A card a target: queries beside a match that the model finds, and beside what it takes for one; none where it shows neither.

    Args:
        model: with its matcher.
        measurements: of targets.
        experts: names of the domains of its experts; empty for a model without.
    """
    cards = (
        _card(model, measurement, experts, f"matches-{number}")
        for number, measurement in enumerate(measurements, start=1)
    )
    return [card for card in cards if card is not None]


def _card(model: MatchingModel, measurement: Measurement, experts: Sequence[str], name: str) -> Card | None:
    best, worst = best_and_worst(measurement)
    right = [(a.sample, next(t.sample for t in a.tiles if t.right)) for a in best if any(t.right for t in a.tiles)]
    wrong = [(a.sample, a.tiles[0].sample) for a in worst if a.tiles and not a.tiles[0].right]
    pairs = [*right[:PAIRS], *wrong[:PAIRS]]
    if not pairs:
        return None
    titles = [*["same person"] * len(right[:PAIRS]), *["other person"] * len(wrong[:PAIRS])]
    return Card(
        f"Matched places: {measurement.target.name}",
        to_svg(match_figure([match_pair(model, *pair) for pair in pairs], view_names(model, experts), titles), name),
        f"Queries (left) beside gallery images (right). Lines join the places that chose each other and count most for the "
        f"score, at most {LINES} a pair, with each pair of columns as one view of the model sees it. (TAL, Fig. 6)",
        f"Matched places between images of {measurement.target.name}",
    )


def match_pair(model: MatchingModel, query: Sample, gallery: Sample) -> MatchedPair:
    """Two images as the model sees them, and what its matcher joins."""
    pixels = model.preprocessing.read_many([query.image, gallery.image])
    _, rows = model.describe_batch(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(model.device))
    return MatchedPair(pixels[0], pixels[1], model.eval().matcher.explain(rows[0], rows[1]))


def view_names(model: MatchingModel, experts: Sequence[str]) -> list[str]:
    """What the views of a model are called: its experts by their domains, the mixed one `DI`."""
    settings = model.architecture.matcher
    named = experts if len(experts) == model.domains else [f"expert {k}" for k in range(1, model.domains + 1)]
    names = list(named) if settings.specific != "none" else []
    names += ["DI"] if settings.invariant != "none" else []
    return names or [""]


def match_figure(pairs: Sequence[MatchedPair], views: Sequence[str], titles: Sequence[str]) -> "Figure":
    """A grid: a row a pair, a column a view, each the two images side by side with lines.

    Args:
        pairs: at least one.
        views: names of the columns.
        titles: of the rows.
    """
    from matplotlib.figure import Figure

    height, width = pairs[0].query.shape[:2]
    ratio = height / (width * (2 + GAP))
    figure = Figure(figsize=(1.5 * len(views) + 0.3, 1.5 * ratio * len(pairs) + 0.4), layout="constrained")
    figure.patch.set_visible(False)
    grid = figure.subplots(len(pairs), len(views), squeeze=False)
    right = width * (1 + GAP)
    for row, (pair, title) in enumerate(zip(pairs, titles, strict=True)):
        for column, (scales, view) in enumerate(zip(pair.views, views, strict=True)):
            axes = grid[row, column]
            axes.imshow(pair.query, extent=(0, width, height, 0))
            axes.imshow(pair.gallery, extent=(right, right + width, height, 0))
            axes.set_xlim(0, right + width)
            axes.set_ylim(height, 0)
            axes.set_axis_off()
            for number, (start, end) in enumerate(_lines(scales)):
                axes.plot(
                    [start[0] * width, right + end[0] * width],
                    [start[1] * height, end[1] * height],
                    color=SERIES[number % len(SERIES)],
                    linewidth=1.2,
                    marker="o",
                    markersize=2.2,
                )
            if row == 0:
                axes.set_title(view, fontsize=8, color=INK)
            if column == 0:
                axes.text(-4, height / 2, title, rotation=90, ha="right", va="center", fontsize=7, color=INK)
    return figure


def _lines(scales: Sequence[MatchedPlaces]) -> list[tuple[Place, Place]]:
    """Ends of the lines of all scales, the strongest of each scale; of lines that would hide each other one is drawn."""
    drawn: dict[tuple[float, float], tuple[Place, Place]] = {}
    most = max(1, LINES // len(scales))
    for scale in scales:
        before = len(drawn)
        for query, gallery in scale.strongest(len(scale.in_gallery)):
            start, end = scale.centre(query), scale.centre(gallery)
            if len(drawn) < before + most:
                drawn.setdefault((start[1], end[1]), (start, end))
    return list(drawn.values())
