"""Checkpoints of earlier versions still load, and trainings still begin with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nasion.trainers.systems import Options, load_trained, recipe_named

from ...conftest import ROOT

KEPT = sorted((ROOT / "checkpoints").glob("*.pt"))


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.name)
def test_a_kept_checkpoint_loads_and_training_begins_with_its_weights(file: Path) -> None:
    trained = load_trained(file)
    begun = recipe_named(trained.recipe.name).build(Options(start=file))
    pairs = zip(begun.state_dict().values(), trained.learner.state_dict().values(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    width, height = trained.spec.size
    with torch.no_grad():
        out = trained.network(torch.rand(1, 3, height, width))
    assert all(bool(value.isfinite().all()) for value in out.values())
