"""Training loop: losses, reports, objectives, precision, memory format and workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nasion.trainers.training.loop import Schedule, State, TrainingError, train
from nasion.trainers.training.record import read_record

from ...support.training.lines import ALTERNATING, AlternatingLearner, Line, LineLearner, run, same


def test_a_line_is_learned_and_the_record_tells_of_it(tmp_path: Path) -> None:
    state = run(tmp_path)
    reports = [report for report in read_record(tmp_path / "record.jsonl") if report["kind"] == "train"]
    assert [report["step"] for report in reports] == [10, 20, 30, 40]
    assert reports[-1]["square"] < 0.3 * reports[0]["square"]
    assert state.step == 40


def test_a_report_holds_the_mean_over_its_steps(tmp_path: Path) -> None:
    each: list[float] = []
    run(tmp_path, watch=lambda state, part, losses: each.append(losses["square"]))
    first = next(report for report in read_record(tmp_path / "record.jsonl") if report["kind"] == "train")
    assert first["square"] == pytest.approx(sum(each[:10]) / 10, rel=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_parts(tmp_path: Path) -> None:
    class Broken(LineLearner):
        def losses(self, batch: list[Tensor], objective: str) -> dict[str, Tensor]:
            value = self(batch[0])["y"].mean()
            return {"good": value * 0 + 1, "bad": value * float("inf")}

    with pytest.raises(TrainingError, match=r"step 0: the loss is not finite: .*'good': 1\.0.*'bad'"):
        run(tmp_path, learner=Broken())


def test_only_the_parameters_of_the_turn_are_stepped(tmp_path: Path) -> None:
    moved: list[str] = []
    last = {}

    def watch(state: State, part: float, losses: dict[str, float]) -> None:
        now = {name: value.clone() for name, value in state.learner.named_parameters()}
        moved.append("".join(sorted(name[7] for name in now if not torch.equal(now[name], last[name]))))
        last.update(now)

    learner = AlternatingLearner()
    last.update({name: value.clone() for name, value in learner.named_parameters()})
    state = run(tmp_path, ALTERNATING, learner, watch=watch)
    assert moved == ["b", "w", "w"] * 4
    assert state.steps_done == {"slope": 8, "offset": 4}
    assert learner.done == list(range(1, 13))


def test_a_turn_without_an_optimiser_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no optimiser for the objective 'offset', only for all"):
        run(tmp_path, Schedule(steps=3, batch=1), AlternatingLearner())


def test_steps_that_never_come_to_a_turn_are_refused_before_any_training(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="1 steps never reach the objective 'slope'; give at least 2 steps"):
        run(tmp_path, replace(ALTERNATING, steps=1), AlternatingLearner())
    assert not (tmp_path / "record.jsonl").exists()
    assert run(tmp_path / "least", replace(ALTERNATING, steps=2), AlternatingLearner()).steps_done == {
        "slope": 1,
        "offset": 1,
    }
    assert run(tmp_path / "none", replace(ALTERNATING, steps=0), AlternatingLearner()).step == 0


def test_bf16_computes_in_bfloat16_and_keeps_its_weights_in_float32(tmp_path: Path) -> None:
    class Peek(LineLearner):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            out = super().forward(images)
            kinds.add(out["y"].dtype)
            return out

    kinds: set[torch.dtype] = set()
    state = run(tmp_path, learner=Peek(), precision="bf16")
    assert kinds == {torch.bfloat16}
    assert state.learner.get_parameter("linear.weight").dtype == torch.float32
    last = read_record(tmp_path / "record.jsonl")[-1]
    assert last["square"] < 0.3


def test_images_and_kernels_have_their_channels_last(tmp_path: Path) -> None:
    class LearnerOfImages(LineLearner):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def losses(self, batch: Tensor, objective: str) -> dict[str, Tensor]:
            seen.append(batch.is_contiguous(memory_format=torch.channels_last))
            seen.append(self.conv.weight.is_contiguous(memory_format=torch.channels_last))
            return {"mean": self.conv(batch).mean()}

    class LineOfImages(Line):
        def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
            return torch.rand(3, 8, 8)

    seen: list[bool] = []
    train(LearnerOfImages(), LineOfImages(), Schedule(steps=1, batch=2), tmp_path)
    assert seen == [True, True]


def test_workers_draw_the_same_samples(tmp_path: Path) -> None:
    assert same(run(tmp_path / "none").learner, run(tmp_path / "two", workers=2).learner)
