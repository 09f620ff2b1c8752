"""Recipes: a published setting as one YAML file, read into one typed object."""

from passerby.recipes.recipe import BUDGETS, Recipe, load_recipe, recipe_names

__all__ = ["BUDGETS", "Recipe", "load_recipe", "recipe_names"]
