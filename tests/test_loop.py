from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nasion.trainers.loop import Schedule, State, TrainingError, train
from nasion.trainers.record import read_record

SCHEDULE = Schedule(steps=40, batch=4, rate=0.3, warmup=5, validate_every=10, report_every=10, average=0.9)


class Line(Dataset[tuple[Tensor, Tensor]]):
    """Points on y = 3x - 1."""

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = torch.rand(1, generator=torch.Generator().manual_seed(index)) * 2 - 1
        return x, 3 * x - 1


def losses(model: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
    return {"square": ((model(batch[0]) - batch[1]) ** 2).mean()}


def line() -> nn.Linear:
    torch.manual_seed(3)
    return nn.Linear(1, 1)


def run(folder: Path, schedule: Schedule = SCHEDULE, **options: object) -> State:
    return train(line(), Line(), losses, schedule, folder, **options)  # type: ignore[arg-type]


def test_a_line_is_learned_and_the_record_tells_of_it(tmp_path: Path) -> None:
    state = run(tmp_path)
    reports = [report for report in read_record(tmp_path / "record.jsonl") if report["kind"] == "train"]
    assert [report["step"] for report in reports] == [10, 20, 30, 40]
    assert reports[-1]["square"] < 0.3 * reports[0]["square"]
    assert state.step == 40


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop_at_20(_: nn.Module) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 3:
            raise Stop
        return {"loss": 1.0}

    calls: list[int] = []
    with pytest.raises(Stop):
        run(tmp_path / "broken", validate=stop_at_20)
    resumed = run(tmp_path / "broken")
    assert resumed.step == 40
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(resumed.average.parameters(), whole.average.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_parts(tmp_path: Path) -> None:
    def broken(model: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
        value = model(batch[0]).mean()
        return {"good": value * 0 + 1, "bad": value * float("inf")}

    with pytest.raises(TrainingError, match=r"step 0: the loss is not finite: .*'good': 1\.0.*'bad'"):
        train(line(), Line(), broken, SCHEDULE, tmp_path)


def test_the_best_checkpoint_is_the_one_with_the_lowest_criterion(tmp_path: Path) -> None:
    figures = iter([0.5, 0.2, 0.4, 0.3, 0.9])
    run(tmp_path, validate=lambda _: {"loss": next(figures)})
    assert torch.load(tmp_path / "best.pt", weights_only=True)["step"] == 20
    assert torch.load(tmp_path / "latest.pt", weights_only=True)["best"] == 0.2


def test_a_budget_of_minutes_ends_the_run_early(tmp_path: Path) -> None:
    state = run(tmp_path, Schedule(steps=10**9, batch=4, rate=0.05), minutes=0.01)
    assert 0 < state.step < 10**6
    assert (tmp_path / "latest.pt").is_file()


def test_another_schedule_never_overwrites_a_run(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(TrainingError, match="choose another --out"):
        run(tmp_path, Schedule(steps=41, batch=4, rate=0.05))
