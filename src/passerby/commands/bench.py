"""passerby bench: recipes x seeds x cells of a protocol, each trained and measured once, and the table of them all."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from passerby.commands.adapted import How, parse_unknown
from passerby.commands.bench_cell import BenchCell, plain_name
from passerby.commands.top_k import named_top_k
from passerby.commands.training_sources import shard_folders
from passerby.commands.unseen import LEFT_OUT, ONE_TO_FOUR
from passerby.data.images import Preprocessing
from passerby.data.protocols import FREE, Cell, get_protocol
from passerby.data.sources import by_camera, open_sources
from passerby.data.video.film_set import FilmSet
from passerby.data.video.listing import LISTING
from passerby.errors import PasserbyError
from passerby.evaluation.overlap import check_disjoint
from passerby.evaluation.records import Record, read_record
from passerby.evaluation.targets import open_target
from passerby.files import sha256, write_text
from passerby.methods import get_method
from passerby.models.matching_model import Stream
from passerby.models.norm_kinds import BANKED
from passerby.models.unknown import Unknown
from passerby.recipes import load_recipe
from passerby.recipes.recipe import Budget, Recipe
from passerby.report.table import markdown_table


def bench(
    recipes: Sequence[str],
    data_root: Path,
    out: Path,
    overrides: Sequence[str],
    protocol: str,
    targets: Sequence[str],
    seeds: int,
    budget: Budget,
    device: str,
    ways: Sequence[str] = ("none",),
    unknown: Sequence[str] = (),
    top_k: Sequence[str] = (),
) -> int:
    """Runs every cell that has no record yet, prints and writes OUT/table.md, and returns the number of failed cells.

    Each cell is a process of its own, so its peak memory is its own and a crash costs one cell. A cell that was killed while
    training is resumed from its last checkpoint.

    Args:
        recipes: packaged names or YAML files.
        data_root: folder that holds the datasets.
        out: OUT/cells holds runs and records. Benches with other overrides may share it: the table shows all records there.
        overrides: applied to every recipe.
        protocol: a named protocol; its sources are the recipe's.
        targets: of a `free` protocol, or the protocol's choice where it leaves one.
        seeds: seeds 0 .. seeds - 1.
        budget: the same for all.
        device: as in train.
        ways: how each trained model is fitted to a target before it is measured, as `How.parse` reads it; a cell trains once
            and has a record for each.
        unknown: how each trained model looks at images of unknown domain, as in evaluate; every one is combined with every way.
        top_k: how much of a gallery each trained matcher ranks, as in evaluate; likewise.

    Raises:
        PasserbyError: for bad input, before anything runs.
    """
    console = Console()
    looks = [parse_unknown(look) for look in unknown or (None,)]
    ranks = [named_top_k(k) for k in top_k] or [None]
    parsed = tuple(replace(How.parse(way), unknown=look, top_k=k) for way in ways for look in looks for k in ranks)
    cells = list(_cells(recipes, data_root, out, tuple(overrides), protocol, tuple(targets), seeds, budget, parsed))
    open_cells = [cell for cell in cells if not cell.finished]
    _check_data(open_cells, data_root)
    failures: list[str] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f} of {task.total:.0f}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=1e9) as progress:
        if len(open_cells) < len(cells):
            console.print(f"{len(cells) - len(open_cells)} of {len(cells)} cells are finished already")
        task = progress.add_task("cells", total=len(open_cells))
        for done, cell in enumerate(open_cells):
            progress.update(task, description=f"{cell.recipe} seed {cell.seed} -> {','.join(cell.targets)}")

            def on_progress(share: float, done: int = done) -> None:
                progress.update(task, completed=done + share)

            if error := cell.run(data_root, device, on_progress):
                failures.append(f"{cell.recipe} seed {cell.seed}: {error}")
                console.print(failures[-1], style="red", markup=False, soft_wrap=True)
            progress.update(task, completed=done + 1)
    records = read_records(out)
    if records:
        table = markdown_table(records)
        write_text(out / "table.md", table + "\n")
        print(table)
    if failures:
        console.print(
            f"{len(failures)} of {len(cells)} cells failed; run the same command again to try them anew", style="red"
        )
    return len(failures)


def read_records(out: Path) -> list[Record]:
    """All records of a bench folder, in the order of their cells' names and targets."""
    return [read_record(path) for path in sorted(out.glob("cells/*/records/*.json"))]


def _cells(
    recipes: Sequence[str],
    data_root: Path,
    out: Path,
    overrides: tuple[str, ...],
    protocol: str,
    targets: tuple[str, ...],
    seeds: int,
    budget: Budget,
    ways: tuple[How, ...],
) -> Iterator[BenchCell]:
    if not recipes:
        raise PasserbyError("--recipes: empty; name at least one recipe")
    plan = get_protocol(protocol)
    demanded = [f"data.domains={plan.domains}"] if plan.domains == "camera" else []
    demanded += [f"data.images={plan.images}"] if plan.images else []
    given = [override for override in overrides if not override.startswith(("data.sources=", "data.shards="))]
    data = [override for override in overrides if override not in given]
    for seed in range(seeds):
        for name in recipes:
            kind, own_data = _data_of(name, data, budget)
            if kind == "film" and protocol not in FREE:
                raise PasserbyError(
                    f"--protocol {protocol}: says which labelled sources train, and {name} learns from film; take {' or '.join(FREE)}"
                )
            if kind == "film" and not targets:
                raise PasserbyError("--targets: empty; name what to measure on, as in --targets viper,prid")
            sources = load_recipe(name, [*given, *own_data], budget).data.sources
            for part in [Cell((), targets)] if kind == "film" else plan.cells(sources, targets):
                own = [*given, *(own_data if kind == "film" else [*demanded, "data.sources=" + ",".join(part.sources)])]
                # A cell is named by everything that decides its result.
                recipe = load_recipe(name, own, budget)
                listings = [folder / LISTING for folder in shard_folders(recipe.data.shards, data_root)]
                film = [sha256(listing) for listing in listings if listing.exists()]
                facts = [recipe.model_dump(mode="json"), budget, seed, part.targets, protocol, *film]
                digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
                label = f"{Path(name).stem}-{budget}-{'+'.join(map(plain_name, part.targets))}-s{seed}-{digest}"
                folder = out / "cells" / label
                looks = _looks(ways, name, recipe)
                yield BenchCell(name, tuple(own), budget, seed, recipe, part.targets, looks, protocol, folder)


def _looks(ways: tuple[How, ...], name: str, recipe: Recipe) -> tuple[How, ...]:
    """The ways that are different for a recipe's model: its own way to look is no second one, a plain model has but one.

    What works on embeddings is measured by embeddings alone.

    Raises:
        PasserbyError: for an adaptation that the model cannot take.
    """
    banked, matches = recipe.model.norm in BANKED, recipe.model.matcher.kind != "cosine"
    if banked and (how := next((w for w in ways if w.adaptation), None)):
        raise PasserbyError(
            f"--adapt {how}: {name} keeps statistics of each training domain, which are not adapted; leave the one or the other out"
        )
    others: set[str] = set()
    if recipe.model.matcher.two_streams:
        others = set(get_args(Stream))
    elif banked and not matches:
        others = set(get_args(Unknown)) - {recipe.model.unknown}
    looks = (w if w.unknown in others else replace(w, unknown=None) for w in ways)
    return tuple(dict.fromkeys(replace(w, top_k=_rank(w) if matches else None) for w in looks))


def _rank(way: How) -> str | None:
    return "0" if way.adaptation or way.camera else way.top_k


def _data_of(name: str, data: Sequence[str], budget: Budget) -> tuple[str, list[str]]:
    """What a recipe learns from, and those overrides that say which data of that kind: a bench may have recipes of both."""
    kind = get_method(load_recipe(name, [], budget).method.name).learns_from
    key = "data.shards=" if kind == "film" else "data.sources="
    return kind, [override for override in data if override.startswith(key)]


def _check_data(cells: Sequence[BenchCell], data_root: Path) -> None:
    """Opens every dataset before anything runs: what does not fit must not fail cell by cell, hours apart."""
    sources = cache(lambda specs, images: open_sources(specs, data_root, images) if specs else ())
    size = Preprocessing(height=1, width=1)  # no crop is read
    film = cache(
        lambda specs, pairs, processes: FilmSet(shard_folders(specs, data_root), size, pairs, 0, processes).names
    )
    targets = cache(
        lambda spec, protocol: (
            open_target(spec, data_root, protocol == LEFT_OUT, one_in_five=protocol == ONE_TO_FOUR).samples
        )
    )
    asked = ((c.settings.data, c.settings.trainer.devices, c.targets, c.protocol) for c in cells)
    for data, processes, names, protocol in dict.fromkeys(asked):
        if not data.sources:
            film(data.shards, data.film, processes)
        trained = [sample for source in sources(data.sources, data.images) for sample in source.samples]
        if data.domains == "camera":
            by_camera(",".join(data.sources), trained)
        for name in names:
            check_disjoint(trained, targets(name, protocol))
