"""Validation during training: criterion, best checkpoint, patience."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nasion.trainers import checkpoint
from nasion.trainers.training.loop import Schedule, TrainingError

from ...support.training.lines import SCHEDULE, line, run


def test_the_best_checkpoint_is_the_one_with_the_lowest_criterion(tmp_path: Path) -> None:
    figures = iter([0.5, 0.2, 0.4, 0.3])
    run(tmp_path, validate=lambda _: {"loss": next(figures)})
    assert checkpoint.load(tmp_path / "best.pt")["step"] == 20
    assert checkpoint.load(tmp_path / "latest.pt")["best"] == 0.2


def test_a_criterion_that_is_not_a_number_is_never_the_best(tmp_path: Path) -> None:
    figures = iter([float("nan"), 0.2, float("nan"), 0.1])
    assert run(tmp_path, validate=lambda _: {"loss": next(figures)}).best == 0.1
    assert checkpoint.load(tmp_path / "best.pt")["step"] == 40


def test_patience_ends_a_run_that_no_longer_improves(tmp_path: Path) -> None:
    figures = iter([0.5, 0.2, 0.4, 0.3, 0.1, 0.1])
    state = run(tmp_path, replace(SCHEDULE, steps=100, patience=2), validate=lambda _: {"loss": next(figures)})
    assert state.step == 40
    again = run(tmp_path, replace(SCHEDULE, steps=100, patience=2), validate=lambda _: {"loss": next(figures)})
    assert again.step == 40, "and does not go on when it is called again"


def test_a_criterion_that_validation_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="validation returned nme, but not the criterion 'loss'"):
        run(tmp_path, validate=lambda _: {"nme": 1.0})


def test_validation_sees_a_learner_that_is_not_training_and_training_one_that_is(tmp_path: Path) -> None:
    modes: list[bool] = []

    def validate(learner: nn.Module) -> dict[str, float]:
        modes.append(learner.training)
        return {"loss": 1.0}

    run(tmp_path, validate=validate, watch=lambda s, p, losses: modes.append(s.learner.training))
    assert modes.count(False) == 4
    assert modes.count(True) == 40


def test_no_steps_validate_and_keep_the_network_as_it_was_built(tmp_path: Path) -> None:
    run(tmp_path, Schedule(steps=0, batch=1), validate=lambda _: {"loss": 0.5})
    saved = checkpoint.load(tmp_path / "best.pt")
    assert (saved["step"], saved["figures"]) == (0, {"loss": 0.5})
    assert torch.equal(saved["average"]["linear.weight"], line().linear.weight)
