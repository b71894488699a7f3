"""RHT's learner in small, and faces for it."""

from __future__ import annotations

import torch

from nasion.trainers.data.samples import FaceItem
from nasion.trainers.evaluation.references import PairedItem
from nasion.trainers.systems.rht.learner import RHTLearner
from nasion.trainers.systems.rht.recipes import RECIPES
from nasion.trainers.training.recipes import Options

NAMES = {recipe.name: recipe for recipe in RECIPES}
TINY = Options(set="aflw", size=64, width=1 / 16)  # 19 points: quick


def built(name: str = "rht-r", options: Options = TINY) -> RHTLearner:
    torch.manual_seed(0)
    learner = NAMES[name].build(options)
    assert isinstance(learner, RHTLearner)
    return learner


def faces(count: int = 2, landmarks: int = 19, size: int = 64) -> FaceItem:
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.randn(count, 3, size, size, generator=generator),
        "points": torch.rand(count, landmarks, 2, generator=generator) * (size - 17) + 8,
        "known": torch.ones(count, landmarks),
        "visible": torch.ones(count, landmarks),
    }


def pairs(count: int = 2) -> PairedItem:
    return {**faces(count), "reference": faces(count)}


def taught(learner: RHTLearner) -> RHTLearner:
    """With a reference, and with maps that are not all but zero."""
    learner.set_reference({name: value[0] for name, value in faces(1).items()})  # type: ignore[typeddict-item, arg-type]
    torch.nn.init.normal_(learner.network.decoder.maps.weight)
    return learner.eval()
