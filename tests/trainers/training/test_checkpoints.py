"""Checkpoints of training runs: when they are written, what they hold, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nasion.trainers import checkpoint
from nasion.trainers.training import loop
from nasion.trainers.training.loop import Schedule, State, TrainingError

from ...support.training.lines import SCHEDULE, LineLearner, line, run


def test_a_checkpoint_is_written_on_time_between_validations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    seen: list[int] = []

    def look(state: State, part: float, losses: dict[str, float]) -> None:
        if state.step > 1:
            seen.append(checkpoint.load(tmp_path / "latest.pt")["step"])

    run(tmp_path, Schedule(steps=4, batch=4, validate_every=100), watch=look)
    assert seen == [1, 2, 3]


def test_another_schedule_or_recipe_never_overwrites_a_run(tmp_path: Path) -> None:
    run(tmp_path, description={"recipe": "a"})
    with pytest.raises(TrainingError, match="choose another --out"):
        run(tmp_path, replace(SCHEDULE, steps=41), description={"recipe": "a"})
    with pytest.raises(TrainingError, match=r"recipe was 'a', given is 'b'.*choose another --out"):
        run(tmp_path, description={"recipe": "b"})


class WithTeacher(LineLearner):
    """Its teacher comes from elsewhere."""

    borrowed = ("teacher",)

    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)).requires_grad_(False)

    def structure(self) -> dict[str, object]:
        return {"edges": [1, 2]}


def test_borrowed_weights_stay_out_of_checkpoints_and_as_they_are(tmp_path: Path) -> None:
    learner = WithTeacher()
    before = {name: value.clone() for name, value in learner.teacher.state_dict().items()}
    run(tmp_path, learner=learner)
    assert not learner.teacher.training
    assert all(torch.equal(value, before[name]) for name, value in learner.teacher.state_dict().items())
    saved = checkpoint.load(tmp_path / "best.pt")
    assert set(saved["average"]) == {"linear.weight", "linear.bias"}
    assert saved["description"]["structure"] == {"edges": [1, 2]}
    other = WithTeacher()
    checkpoint.fill(other, saved["average"])
    assert torch.equal(other.linear.weight, saved["average"]["linear.weight"])


def test_weights_of_another_network_are_refused_by_name() -> None:
    with pytest.raises(TrainingError, match=r"missing linear\.bias, linear\.weight, unknown conv\.weight"):
        checkpoint.fill(line(), {"conv.weight": torch.zeros(1)})
    with pytest.raises(TrainingError, match=r"(?s)do not fit LineLearner.*size mismatch"):
        checkpoint.fill(line(), {"linear.weight": torch.zeros(3, 3), "linear.bias": torch.zeros(1)})


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"average": Path("x"), "description": {}}, tmp_path / "evil.pt")
    with pytest.raises(TrainingError, match=r"evil\.pt: cannot be read"):
        checkpoint.load(tmp_path / "evil.pt")
