"""Tiny networks of CHS, quick to build."""

from __future__ import annotations

import torch

from nasion.trainers.networks.chs.network import CHSConfig
from nasion.trainers.systems.chs.learner import CHSLearner
from nasion.trainers.systems.chs.recipes import RECIPES
from nasion.trainers.training.recipes import Options

NAMES = {recipe.name: recipe for recipe in RECIPES}
TINY = Options(set="aflw", size=64, width=1 / 16)  # 19 points: quick
SMALL = CHSConfig(landmarks=19, size=64, stacks=1, stages=2, width=1 / 16)


def built(name: str, options: Options = TINY) -> CHSLearner:
    torch.manual_seed(0)
    learner = NAMES[name].build(options)
    assert isinstance(learner, CHSLearner)
    return learner
