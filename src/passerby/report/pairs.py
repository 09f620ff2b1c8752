"""Pictures of mined pairs: which crops of two frames were matched, and how often rightly over the run."""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from PIL import Image

from passerby.data.images import Pixels
from passerby.report.cards import Card
from passerby.report.drawing import INK, SERIES, WIDTH, new_axes, to_svg

CURVES = {
    "precision": "precision of the pairs",
    "reliability_right": "reliability of right pairs",
    "reliability_wrong": "reliability of wrong pairs",
}
"""What a film method logs, and what it is called."""
COLUMNS, TALL, WIDE, GAP = 8, 96, 48, 14
"""Pairs in a row; the height and width of a crop and the space between pairs, in pixels."""
_QUALITY = 80


@dataclass(frozen=True)
class ShownPair:
    """One mined pair to look at.

    Attributes:
        first, second: uint8 [H, W, 3], the crops.
        reliability: p of ISR's eq. 2.
        right: whether both show one person; None where nobody knows.
    """

    first: Pixels
    second: Pixels
    reliability: float
    right: bool | None


def curve_cards(run: Path) -> list[Card]:
    """The card of a run whose pairs could be checked against ground truth, none of another."""
    curves = {name: points for name, points in read_curves(run).items() if points}
    if "precision" not in curves:
        return []
    points = curves["precision"]
    tenth = max(1, len(points) // 10)
    begin, end = (sum(value for _, value in part) / tenth for part in (points[:tenth], points[-tenth:]))
    return [
        Card(
            "Mined pairs over the run",
            curves_figure(curves),
            f"Share of the mined pairs that show one person: {100 * begin:.0f} % in the first tenth of the run, "
            f"{100 * end:.0f} % in the last (dots: single steps, lines: their running mean). No loss sees who the people are.",
            "Precision of mined pairs, and reliability of right and of wrong ones, over the run",
        )
    ]


def read_curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What the logs of a run say of its pairs: (step, value), in order of steps, by the names of `CURVES`."""
    found: dict[str, dict[int, float]] = {name: {} for name in CURVES}
    for log in sorted((run / "logs").glob("part-*/metrics.csv")):
        with log.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                for name in CURVES:
                    if row.get(name):
                        found[name][int(row["step"])] = float(row[name])
    return {name: sorted(points.items()) for name, points in found.items()}


def curves_figure(curves: dict[str, list[tuple[int, float]]]) -> str:
    """Dots of single steps and lines of their running means over the run.

    Args:
        curves: (step, fraction) by the names of `CURVES`.

    Returns:
        an <svg> element, coloured as `cmc_figure` is.
    """
    figure, axes = new_axes(2 * WIDTH)
    for number, (name, points) in enumerate(curves.items()):
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, ".", markersize=2, color=SERIES[number])
        axes.plot(steps, running_mean(values), color=SERIES[number], label=CURVES[name])
    axes.set_ylim(0, 1)
    axes.set_xlabel("step")
    axes.set_ylabel("fraction")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(curves), frameon=False, labelcolor=INK)
    return to_svg(figure, "mined-pairs-curves")


def running_mean(values: Sequence[float]) -> list[float]:
    """The mean of each value and its neighbours, a twentieth of all on either side as far as there are any."""
    reach = len(values) // 20
    windows = [values[max(0, n - reach) : n + reach + 1] for n in range(len(values))]
    return [fmean(window) for window in windows]


def pairs_card(pairs: Sequence[ShownPair]) -> Card:
    """The card of some mined pairs, the most reliable first."""
    known = [pair for pair in pairs if pair.right is not None]
    right = f" {sum(pair.right is True for pair in known)} of {len(known)} show one person." if known else ""
    return Card(
        "Mined pairs",
        pairs_figure(sorted(pairs, key=lambda pair: -pair.reliability)),
        f"{len(pairs)} pairs of two frames, the most reliable first; the number is the reliability.{right}",
        "Crops of two frames that were matched with each other",
    )


def pairs_figure(pairs: Sequence[ShownPair]) -> str:
    """Rows of pairs, each two crops with their reliability and a tick or a cross where truth is known: an <svg> element."""
    rows = -(-len(pairs) // COLUMNS)
    step, line = 2 * WIDE + GAP, TALL + 2 * GAP
    width, height = COLUMNS * step, rows * line
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    ]
    for number, pair in enumerate(pairs):
        row, column = divmod(number, COLUMNS)
        x, y = column * step, row * line
        for crop, left in ((pair.first, x), (pair.second, x + WIDE)):
            parts.append(
                f'<image x="{left}" y="{y}" width="{WIDE}" height="{TALL}" preserveAspectRatio="none" href="{_uri(crop)}"/>'
            )
        # A word beside the colour: not everybody tells colours apart.
        word = {True: " right", False: " wrong", None: ""}[pair.right]
        colour = {True: SERIES[2], False: SERIES[1], None: INK}[pair.right]
        parts.append(
            f'<text x="{x}" y="{y + TALL + GAP}" font-size="11" fill="{colour}">{pair.reliability:.2f}{word}</text>'
        )
    return "".join((*parts, "</svg>"))


def _uri(crop: Pixels) -> str:
    stream = io.BytesIO()
    Image.fromarray(crop).save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
