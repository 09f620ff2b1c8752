"""A page of cards: a heading, what it comes to in a line, some facts and pictures."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from passerby.files import write_text
from passerby.report.cards import Card


def write_page(path: Path, title: str, verdict: str, facts: Sequence[tuple[str, str]], cards: Sequence[Card]) -> None:
    """Writes one self-contained HTML file, atomically.

    Args:
        path: the file.
        title: heading.
        verdict: the line that people came for.
        facts: names and values.
        cards: pictures.
    """
    page = templates().get_template("page.html.j2").render(title=title, verdict=verdict, facts=facts, cards=cards)
    write_text(path, page)


def templates() -> Environment:
    """The environment that renders every page."""
    return Environment(
        loader=PackageLoader("passerby.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
