"""passerby recipes: look at the packaged ones."""

from typing import Annotated

import typer

from passerby.cli.options import BudgetOption, Overrides

app = typer.Typer(help="Look at the packaged recipes.", no_args_is_help=True)


@app.command("list")
def recipes_list() -> None:
    """Names and summaries of the packaged recipes."""
    from passerby.commands.recipes import list_recipes

    list_recipes()


@app.command("show")
def recipes_show(
    name: Annotated[str, typer.Argument(help="A packaged recipe or a .yaml file.")],
    overrides: Overrides = None,
    budget: BudgetOption = "full",
) -> None:
    """The whole recipe, defaults, budget and overrides included."""
    from passerby.commands.recipes import show_recipe

    show_recipe(name, overrides or [], budget)
