"""Drawing as SVG text: figures go into a page as they are and take their colours from its style sheet."""

import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision tell apart.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
INK, GRID = "#24292f", "#d0d7de"
MARKERS, DASHES = "osD^vP", ("-", "--", ":")
WIDTH, HEIGHT = 5.6, 3.5
"""Inches of 72 units; small, so that the text is still read on a phone."""


def new_axes(width: float = WIDTH, height: float = HEIGHT) -> tuple["Figure", "Axes"]:
    """An empty figure of width x height inches, and its axes."""
    # Not through pyplot, which keeps figures alive and picks a backend for the whole process.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.subplots()
    axes.patch.set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.7)
    axes.tick_params(colors=GRID, labelcolor=INK, length=3)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)
    return figure, axes


def to_svg(figure: "Figure", name: str) -> str:
    """The figure's <svg> element, its colours made variables and its ids unique to `name`."""
    import matplotlib

    stream = io.StringIO()
    # Text stays text: it is small, can be searched, and takes the page's font. A name may hold a dollar sign.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = stream.getvalue()
    svg = re.sub(r'<g id="[^"]*"', "<g", svg[svg.index("<svg") :])
    variables = {INK: "--ink", GRID: "--grid"} | {c: f"--series-{i}" for i, c in enumerate(SERIES, 1)}

    def themed(colour: re.Match[str]) -> str:
        name = variables.get(colour[2])
        return f"{colour[1]}var({name}, {colour[2]})" if name else colour[0]

    # In tags alone: text is left as it is.
    return re.sub(r"<[^>]+>", lambda tag: re.sub(r"((?:fill|stroke): )(#[0-9a-f]{6})", themed, tag[0]), svg)
