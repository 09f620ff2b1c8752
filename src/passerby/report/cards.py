"""A picture with its words, as a report shows it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """One card of a report.

    Attributes:
        title: its heading.
        chart: an <svg> element.
        note: what the picture shows, a sentence or two.
        description: the same in a phrase, for who cannot see it.
    """

    title: str
    chart: str
    note: str
    description: str
