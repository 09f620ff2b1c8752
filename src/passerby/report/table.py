"""Tables, made from records alone."""

from collections.abc import Sequence
from statistics import fmean, pstdev

from rich.table import Table

from passerby.evaluation.records import Record

HEADLINE = ("rank1", "mAP")


def console_table(records: Sequence[Record]) -> Table:
    """Metrics of one model by target, in percent, mean and deviation over the splits."""
    names = [name for name in records[0].metrics if not name.startswith("tpr")]
    # Without rules, margins and the % sign six metrics fit into a terminal of 80 columns.
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("target", overflow="fold", min_width=10)
    for heading in ("splits", *names):
        table.add_column(heading, justify="right", no_wrap=True)
    for record in records:
        cells = [f"{100 * record.metrics[n].mean:.1f}±{100 * record.metrics[n].std:.1f}" for n in names]
        table.add_row(record.target, str(record.splits), *cells)
    if len(records) > 1:
        table.add_row("average", "", *(f"{100 * fmean(r.metrics[n].mean for r in records):.1f}" for n in names))
    return table


def markdown_table(records: Sequence[Record]) -> str:
    """The table of a benchmark: a row for each recipe (with its overrides), rank-1 / mAP in percent for each target.

    A target's cell is the mean, and the deviation over all its splits and seeds; the average's deviation is over seeds.
    Wall time and peak memory are those of the training, mean over seeds.
    """
    targets = list(dict.fromkeys(record.target for record in records))
    rows: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Record]] = {}
    for record in records:
        rows.setdefault((row_key(record), people(record)), []).append(record)
    several = len({people for _, people in rows if people}) > 1
    header = ["recipe", "budget", "seeds", *targets, "average", "training, min", "peak, MiB"]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for (key, sources), row in rows.items():
        seeds = sorted({r.training.seed for r in row if r.training})
        cells = [_target_cell([r for r in row if r.target == target]) for target in targets]
        seconds = [r.training.seconds for r in row if r.training and r.training.seconds is not None]
        peaks = [r.training.peak_mib for r in row if r.training and r.training.peak_mib is not None]
        lines.append(
            "| "
            + " | ".join(
                [
                    " ".join(
                        part for part in (*key[:1], *key[2:], "on " + ", ".join(sources) if several else "") if part
                    ),
                    key[1],
                    str(len(seeds)),
                    *cells,
                    _average_cell(row, targets),
                    f"{fmean(seconds) / 60:.1f}" if seconds else "",
                    f"{fmean(peaks):.0f}" if peaks else "",
                ]
            )
            + " |"
        )
    return "\n".join(lines)


def row_key(record: Record) -> tuple[str, ...]:
    """What makes a row of a table: recipe, budget, overrides, and how the model was used at test time."""
    used = (
        "+ " + record.adapted if record.adapted else "",
        "+ re-ranking" if record.reranked else "",
        "+ flip" if record.flip_averaged else "",
    )
    if record.training is None:
        return (record.model, "", *used)
    return (record.training.recipe, record.training.budget, *record.training.overrides, *used)


def people(record: Record) -> tuple[str, ...]:
    """Domains that a row's models learnt from. Where sources take turns as the target, all of them make one row."""
    if record.training is None:
        return ()
    turns = (record.target,) if record.protocol.startswith("leave-one") else ()
    return tuple(sorted({*record.training.sources, *turns}))


def _target_cell(records: list[Record]) -> str:
    if not records:
        return ""
    parts = []
    for name in HEADLINE:
        values = [100 * value for record in records for value in record.metrics[name].per_split]
        parts.append(f"{fmean(values):.1f} ± {pstdev(values):.1f}")
    return " / ".join(parts)


def _average_cell(records: list[Record], targets: list[str]) -> str:
    """Mean over the seeds that have every target of the average over targets."""
    by_seed: dict[int, list[Record]] = {}
    for record in records:
        by_seed.setdefault(record.training.seed if record.training else 0, []).append(record)
    complete = [row for row in by_seed.values() if {r.target for r in row} == set(targets)]
    if not complete:
        return ""
    parts = []
    for name in HEADLINE:
        values = [100 * fmean(r.metrics[name].mean for r in row) for row in complete]
        parts.append(f"{fmean(values):.1f} ± {pstdev(values):.1f}")
    return " / ".join(parts)
