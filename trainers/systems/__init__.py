"""The systems: those of the five papers and the shipped networks, each with its learners and recipes.

Importing this package makes all recipes known by their names.
"""

from ..training.recipes import Options, Recipe, Trained, all_recipes, load_trained, recipe_named, register
from . import chs, pwc, rdfn, rht, sd_hrnet, shipped

for _system in (shipped, sd_hrnet, pwc, chs, rdfn, rht):
    register(_system.RECIPES)

__all__ = ["Options", "Recipe", "Trained", "all_recipes", "load_trained", "recipe_named"]
