"""Learners and recipes of the five papers' systems and of the shipped networks.

Importing this package registers all recipes by name.
"""

from ..training.recipes import Options, Recipe, Trained, all_recipes, load_trained, recipe_named, register
from .chs.recipes import RECIPES as CHS
from .own.recipes import RECIPES as OWN
from .pwc.recipes import RECIPES as PWC
from .rdfn.recipes import RECIPES as RDFN
from .rht.recipes import RECIPES as RHT
from .sd_hrnet.recipes import RECIPES as SD_HRNET
from .shipped.recipes import RECIPES as SHIPPED

for _recipes in (SHIPPED, OWN, SD_HRNET, PWC, CHS, RDFN, RHT):
    register(_recipes)

__all__ = ["Options", "Recipe", "Trained", "all_recipes", "load_trained", "recipe_named"]
