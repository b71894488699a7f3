"""Tiny networks of the pixel-wise classification study, and faces for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import default_collate

from nasion.trainers.data import read_set
from nasion.trainers.data.augment import Augmentation
from nasion.trainers.data.samples import FaceItem, FaceSamples
from nasion.trainers.systems.pwc.learners import Study
from nasion.trainers.systems.pwc.recipes import RECIPES
from nasion.trainers.training.recipes import Options

from ..data_sets.labelled import write_data

NAMES = {recipe.name: recipe for recipe in RECIPES}
TINY = Options(size=48, width=1 / 16)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def built(name: str, options: Options = TINY) -> Study:
    torch.manual_seed(0)
    learner = NAMES[name].build(options)
    assert isinstance(learner, Study)
    return learner


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), each=8)


@pytest.fixture(scope="module")
def eight(data: Path) -> FaceSamples:
    faces = read_set("300w", data, part="train")
    return FaceSamples(faces.pick(np.arange(8)), built("pwc").spec, Augmentation())


@pytest.fixture(scope="module")
def batch(eight: FaceSamples) -> FaceItem:
    items: FaceItem = default_collate([eight.crop(i) for i in range(8)])
    return items
