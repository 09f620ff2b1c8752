"""The command line: one command a verb; each verb's work is done in passerby.commands."""

import sys

import typer

from passerby.cli import datasets, recipes
from passerby.cli.film import ingest
from passerby.cli.learn import bench, demo, train
from passerby.cli.measure import evaluate
from passerby.cli.places import adapt, diagnose, embed
from passerby.errors import PasserbyError, explain_system_error
from passerby.memory import keep_freed_memory

app = typer.Typer(
    name="passerby",
    help=(
        "Recognise people on cameras that the model has never seen.\n\n"
        "Start with `passerby demo`: it trains on three synthetic domains, measures on a fourth, and writes a report."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for verb in (demo, train, evaluate, bench, embed, adapt, diagnose, ingest):
    app.command()(verb)
app.add_typer(datasets.app, name="datasets")
app.add_typer(recipes.app, name="recipes")


def main() -> None:
    """Runs the command line; bad input ends in one line on stderr and exit code 2."""
    keep_freed_memory()
    try:
        app()
    except PasserbyError as error:
        print(f"passerby: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"passerby: {explain_system_error(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("passerby: interrupted", file=sys.stderr)
        sys.exit(130)
