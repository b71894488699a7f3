"""Learners and recipes of the five papers' systems and of the shipped networks.

Importing this package registers all recipes by name.
"""

from ..training.recipes import Options, Recipe, Trained, all_recipes, load_trained, recipe_named, register
from . import chs, pwc, rdfn, rht, sd_hrnet, shipped

for _system in (shipped, sd_hrnet, pwc, chs, rdfn, rht):
    register(_system.RECIPES)

__all__ = ["Options", "Recipe", "Trained", "all_recipes", "load_trained", "recipe_named"]
