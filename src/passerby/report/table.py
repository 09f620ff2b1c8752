"""Tables, made from records alone."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, pstdev

from rich.table import Table

from passerby.errors import PasserbyError
from passerby.evaluation.records import Record, averages, kinds

HEADLINE = ("rank1", "mAP")


def console_table(records: Sequence[Record]) -> Table:
    """Metrics of one model by target, in percent, mean and deviation over the splits."""
    names = [name for name in records[0].metrics if not name.startswith("tpr")]
    # Without rules, margins and the % sign six metrics fit into a terminal of 80 columns.
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("target", overflow="fold", min_width=10)
    for heading in ("splits", *names):
        table.add_column(heading, justify="right", no_wrap=True)
    for record, kind in zip(records, kinds(records), strict=True):
        cells = [f"{100 * record.metrics[n].mean:.1f}±{100 * record.metrics[n].std:.1f}" for n in names]
        table.add_row(f"{record.target} ({kind})" if kind else record.target, str(record.splits), *cells)
    for kind, means in averages(records):
        table.add_row(f"average {kind}".strip(), "", *(f"{100 * means[n]:.1f}" if n in means else "" for n in names))
    return table


def markdown_table(records: Sequence[Record]) -> str:
    """The table of a benchmark: a row for each recipe (with its overrides), rank-1 / mAP in percent for each target.

    A target's cell is the mean, and the deviation over all its splits and seeds; the average's deviation is over seeds. One
    value has no deviation.
    Wall time and peak memory are those of the training, mean over seeds.
    """
    targets = list(dict.fromkeys(record.target for record in records))
    rows: dict[tuple[tuple[str, ...], str, tuple[str, ...], str], list[Record]] = {}
    for record in records:
        digest = record.training.recipe_sha256[:8] if record.training else record.weights_sha256[:8]
        rows.setdefault((row_key(record), digest, people(record), data_digest(record)), []).append(record)
    for row in rows.values():
        _refuse_doubles(row)
    several = len({people for _, _, people, _ in rows if people}) > 1
    # The same name over another recipe (a file that was edited, another version's) is another row, and so is one over other
    # data of the same name (film that was added to).
    sets = Counter((key, digest, sources) for key, digest, sources, _ in rows)
    recipes = Counter((key, sources) for key, _, sources in sets)
    header = ["recipe", "budget", "seeds", *targets, "average", "training, min", "peak, MiB"]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for (key, digest, sources, data), row in rows.items():
        name = (*key[:1], *key[2:], "on " + ", ".join(sources) if several else "")
        name += (f"({digest})",) if recipes[key, sources] > 1 else ()
        name += (f"(data {data})",) if sets[key, digest, sources] > 1 else ()
        seeds = sorted({r.training.seed for r in row if r.training})
        cells = [_target_cell([r for r in row if r.target == target]) for target in targets]
        seconds = [r.training.seconds for r in row if r.training and r.training.seconds is not None]
        peaks = [r.training.peak_mib for r in row if r.training and r.training.peak_mib is not None]
        lines.append(
            "| "
            + " | ".join(
                [
                    " ".join(filter(None, name)),
                    key[1],
                    str(len(seeds) or ""),
                    *cells,
                    _average_cell(row, _expected(row, records)),
                    f"{fmean(seconds) / 60:.1f}" if seconds else "",
                    f"{fmean(peaks):.0f}" if peaks else "",
                ]
            )
            + " |"
        )
    return "\n".join(lines)


def row_key(record: Record) -> tuple[str, ...]:
    """What makes a row of a table: recipe, budget, overrides, what it started from, and how the model was used at test time."""
    used = (
        ""
        if record.matcher == "cosine"
        else f"+ {record.matcher} on {'all' if record.matched is None else record.matched}",
        f"by {record.unknown}" if record.unknown else "",
        "+ " + record.adapted if record.adapted else "",
        "+ re-ranking" if record.reranked else "",
        "+ flip" if record.flip_averaged else "",
    )
    if record.training is None:
        return (record.model, "", *used)
    started = tuple(f"from {recipe}" for recipe in record.training.started_from)
    return (record.training.recipe, record.training.budget, *record.training.overrides, *started, *used)


def people(record: Record) -> tuple[str, ...]:
    """Domains that a row's models learnt from. Where sources take turns as the target, all of them make one row."""
    if record.training is None:
        return ()
    turns = (record.target,) if record.protocol.startswith("leave-one") else ()
    return tuple(sorted({*record.training.sources, *turns}))


def data_digest(record: Record) -> str:
    """Names the very data that a row's models learnt from, whatever they are called; nothing where sources take turns."""
    if record.training is None or record.protocol.startswith("leave-one"):
        return ""
    return hashlib.sha256("".join(sorted(record.training.source_listing_sha256)).encode()).hexdigest()[:8]


def _target_cell(records: list[Record]) -> str:
    if not records:
        return ""
    parts = []
    for name in HEADLINE:
        values = [100 * value for record in records for value in record.metrics[name].per_split]
        parts.append(_with_deviation(values))
    return " / ".join(parts)


def _refuse_doubles(row: list[Record]) -> None:
    cells = Counter((r.training.seed if r.training else 0, r.target) for r in row)
    (seed, target), most = cells.most_common(1)[0]
    if most > 1:
        raise PasserbyError(
            f"records: {most} of {' '.join(row_key(row[0]))}, seed {seed}, on {target} (protocols "
            f"{', '.join(sorted({r.protocol for r in row}))}); a table shows one: keep them in folders of their own"
        )


def _expected(row: list[Record], records: Sequence[Record]) -> set[str]:
    """Targets that a row is complete with: all of the table but what every one of its models was trained on.

    Where sources take turns as the target, each of them is due, whichever have had their turn.
    """
    turns = people(row[0]) if row[0].protocol.startswith("leave-one") else ()
    trained = set.intersection(*(set(r.training.sources) if r.training else set() for r in row))
    return {record.target for record in records if record.domain in turns or record.domain not in trained}


def _average_cell(records: list[Record], targets: set[str]) -> str:
    """Mean (and, of several, deviation) over the seeds that have every target of the average over targets."""
    by_seed: dict[int, list[Record]] = {}
    for record in records:
        by_seed.setdefault(record.training.seed if record.training else 0, []).append(record)
    complete = [row for row in by_seed.values() if {r.target for r in row} == targets]
    if not complete:
        return ""
    parts = []
    for name in HEADLINE:
        values = [100 * fmean(r.metrics[name].mean for r in row) for row in complete]
        parts.append(_with_deviation(values))
    return " / ".join(parts)


def _with_deviation(values: list[float]) -> str:
    return f"{fmean(values):.1f}" + (f" ± {pstdev(values):.1f}" if len(values) > 1 else "")
