"""passerby recipes: what is packaged, and what a recipe says."""

import yaml
from rich.console import Console
from rich.table import Table

from passerby.recipes import load_recipe, recipe_names
from passerby.recipes.recipe import Budget


def list_recipes() -> None:
    """Prints names and summaries."""
    table = Table("recipe", "what it is", box=None)
    for name in recipe_names():
        table.add_row(name, load_recipe(name).summary)
    Console().print(table)


def show_recipe(name: str, overrides: list[str], budget: Budget) -> None:
    """Prints a recipe as YAML, every key spelled out."""
    print(yaml.safe_dump(load_recipe(name, overrides, budget).model_dump(mode="json"), sort_keys=False), end="")
