"""Verbs that train: demo, train, bench."""

from pathlib import Path
from typing import Annotated

import typer

from passerby.cli.options import LARGEST_SEED, UNKNOWN, BudgetOption, DataRoot, Device, Overrides, listed


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run and of report.html.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Fixes people, cameras and training.")] = 0,
) -> None:
    """Train on three synthetic domains, measure on an unseen fourth, write report.html. Minutes on two cores."""
    from passerby.commands.demo import demo as run

    run(out, seed)


def train(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe (`passerby recipes list`) or a .yaml file.")],
    data_root: DataRoot,
    out: Annotated[Path, typer.Option(help="Folder of the run: model, checkpoints, logs.")],
    overrides: Overrides = None,
    budget: BudgetOption = "full",
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Fixes initialisation, data order and augmentation.")
    ] = 0,
    device: Device = "auto",
    init_from: Annotated[Path | None, typer.Option(help="Start from the weights of this run or saved model.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take up the run in --out where its last checkpoint left it.")
    ] = False,
) -> None:
    """Train a model on labelled source datasets, or on film without labels (data.shards)."""
    from passerby.commands.train import train as run
    from passerby.recipes import load_recipe

    loaded = load_recipe(recipe, overrides, budget)
    model = run(
        loaded,
        data_root,
        out,
        recipe_name=recipe,
        overrides=overrides or [],
        budget=budget,
        seed=seed,
        device=device,
        init_from=init_from,
        resume=resume,
    )
    typer.echo(f"model: {model}")


def bench(
    recipes: Annotated[str, typer.Option(help="Comma-separated recipes.")],
    data_root: DataRoot,
    out: Annotated[Path, typer.Option(help="Folder of cells and records; a finished cell there is never run again.")],
    overrides: Overrides = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="large-to-small, leave-one-out, single-source, leave-one-source-out, one-to-four or free (docs/protocols.md)."
        ),
    ] = "free",
    targets: Annotated[
        str, typer.Option(help="Comma-separated targets, or name=path for your own; a named protocol may have its own.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Seeds 0 .. N - 1.", min=1)] = 3,
    budget: BudgetOption = "quick",
    adapt: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure each model this way: none, camera, an adaptation as in evaluate --adapt, or one and +camera; may be "
            "repeated. By default none."
        ),
    ] = None,
    unknown: Annotated[list[str] | None, typer.Option(help=UNKNOWN + " May be repeated.")] = None,
    top_k: Annotated[
        list[str] | None,
        typer.Option(help="How much of a gallery a matcher ranks, as in evaluate --top-k; may be repeated."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Train and measure recipes over seeds, cell by cell, and print the table."""
    from passerby.commands.bench import bench as run

    failed = run(
        listed(recipes),
        data_root,
        out,
        overrides or [],
        protocol,
        listed(targets),
        seeds,
        budget,
        device,
        adapt or ["none"],
        unknown or [],
        top_k or [],
    )
    if failed:
        raise typer.Exit(1)
