"""Checkpoints as ``nasion train`` leaves them, of networks that have learned nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from nasion.trainers import checkpoint
from nasion.trainers.systems import recipe_named
from nasion.trainers.training.recipes import Options


def write_checkpoint(folder: Path, name: str = "pwc-hybrid", seed: int = 0, width: float = 1 / 64) -> Path:
    options = Options(size=64, width=width, seed=seed)
    torch.manual_seed(seed)
    recipe = recipe_named(name)
    learner = recipe.build(options)
    content = {
        "average": checkpoint.kept(learner),
        "description": recipe.described(options),
        "step": 7,
        "figures": {"nme": 0.5},
    }
    checkpoint.save(content, folder / "best.pt")
    return folder / "best.pt"
