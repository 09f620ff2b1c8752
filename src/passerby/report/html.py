"""The HTML report: one file that holds all it shows, for people to look at what a model does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from passerby.errors import PasserbyError
from passerby.evaluation.measure import CMC_RANKS, FALSE_POSITIVE_RATES, Measurement
from passerby.evaluation.records import Record, averages, kinds
from passerby.files import write_text
from passerby.report.cards import Card
from passerby.report.embedding_map import map_card
from passerby.report.figures import cmc_figure, histogram_figure
from passerby.report.galleries import COLUMNS, Answer, best_and_worst
from passerby.report.page import templates

IDENTIFICATION = {f"rank{k}": f"rank-{k}" for k in CMC_RANKS} | {"mAP": "mAP", "mINP": "mINP"}
VERIFICATION = {f"tpr@fpr={rate:g}": f"{100 * rate:g} %" for rate in FALSE_POSITIVE_RATES}

Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class _Section:
    """What the page shows of one target."""

    anchor: str
    name: str
    note: str | None
    facts: Facts
    histogram: str
    map: Card
    best: list[Answer]
    worst: list[Answer]


def write_report(
    path: Path,
    title: str,
    records: list[Record],
    measurements: list[Measurement],
    introduction: str = "",
    cards: Sequence[Card] = (),
) -> None:
    """Writes one self-contained HTML file, atomically: metrics, CMC curves, score histograms and ranked galleries.

    Args:
        path: the file.
        title: heading of the page.
        records: one a target.
        measurements: what the records were made from, in the same order.
        introduction: plain text above everything; lines may break.
        cards: pictures of the model itself.

    Raises:
        PasserbyError: when records and measurements do not belong together.
    """
    if not records or [r.target for r in records] != [m.target.name for m in measurements]:
        raise PasserbyError(
            f"report {path}: records of {[r.target for r in records]} with measurements of "
            f"{[m.target.name for m in measurements]}; give one of each for every target, in one order"
        )
    environment = templates()
    environment.filters["percent"] = percent
    target_kinds = kinds(records)
    sections = [_section(n, r, m) for n, (r, m) in enumerate(zip(records, measurements, strict=True), start=1)]
    page = environment.get_template("report.html.j2").render(
        title=title,
        introduction=introduction,
        records=records,
        identification=IDENTIFICATION,
        verification=VERIFICATION,
        kinds=target_kinds,
        averages=[(f"average {kind}".strip(), means) for kind, means in averages(records)],
        several_splits=any(record.splits > 1 for record in records),
        cmc=cmc_figure(
            [
                (f"{m.target.name} ({kind})" if kind else m.target.name, torch.stack([o.cmc for o in m.outcomes]))
                for m, kind in zip(measurements, target_kinds, strict=True)
            ]
        ),
        facts=_shared_facts(records),
        cards=cards,
        sections=sections,
        columns=COLUMNS,
    )
    write_text(path, page)


def percent(fraction: float) -> str:
    """A fraction in percent with one decimal, without the sign."""
    return f"{100 * fraction:.1f}"


def _shared_facts(records: list[Record]) -> Facts:
    """How it was measured: what holds for the whole report, differing values side by side."""
    trained = [r.training for r in records if r.training]
    facts: dict[str, list[str]] = {
        "model": [r.model for r in records],
        "weights (sha256)": [r.weights_sha256[:12] for r in records],
        "recipe": [" ".join((t.recipe, *t.overrides)) for t in trained] or ["trained elsewhere"],
        "trained on": [", ".join(t.sources) for t in trained],
        "budget": [f"{t.budget}, {t.steps:,} steps" for t in trained],
        "seed": [str(t.seed) for t in trained],
        "weights kept": [t.selection for t in trained],
        "training": [_cost(t.seconds, t.peak_mib) for t in trained],
        "protocol": [r.protocol for r in records],
        "matcher": [_matcher(r) for r in records],
        "flip averaging": ["yes" if r.flip_averaged else "no" for r in records],
        "adapted to the target": [r.adapted or "no" for r in records],
        "code": [f"passerby {r.code_version}" for r in records],
        "machine": [r.machine for r in records],
        "date": [r.date for r in records],
    }
    return [(name, "; ".join(dict.fromkeys(filter(None, values)))) for name, values in facts.items() if any(values)]


def _matcher(record: Record) -> str:
    which = "" if record.matcher == "cosine" else ", all of the gallery"
    if record.matched is not None:
        which = f", the first {record.matched} of each query by the embedding"
    return record.matcher + which + (", re-ranked" if record.reranked else "")


def _cost(seconds: float | None, peak_mib: float | None) -> str:
    parts = [
        f"{seconds / 60:.1f} min" if seconds is not None else "",
        f"{peak_mib:,.0f} MiB at most" if peak_mib is not None else "",
    ]
    return ", ".join(filter(None, parts))


def _section(number: int, record: Record, measurement: Measurement) -> _Section:
    best, worst = best_and_worst(measurement)
    facts = [
        ("query → gallery", record.direction.replace("->", "→")),
        ("split id", record.split_id),
        ("splits", str(record.splits)),
        ("queries that count, a split", f"{record.queries / record.splits:,.0f}"),
        ("gallery images, a split", f"{record.gallery / record.splits:,.0f}"),
        ("list of images (sha256)", record.target_listing_sha256[:12]),
        (
            "CMC",
            "single gallery shot, random galleries" if measurement.target.single_gallery_shot else "all of the gallery",
        ),
        ("measured in", f"{record.seconds:,.1f} s"),
    ]
    tpr = {rate: record.metrics[f"tpr@fpr={rate:g}"].mean for rate in FALSE_POSITIVE_RATES}
    histogram = histogram_figure([o.pairs for o in measurement.outcomes], tpr, f"scores-{number}")
    plane = map_card(measurement, f"map-{number}")
    return _Section(f"target-{number}", record.target, measurement.target.note, facts, histogram, plane, best, worst)
