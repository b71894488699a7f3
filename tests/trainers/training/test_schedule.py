"""Schedules: minutes, learning rates and optimisers."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nasion.trainers.training.loop import Optimiser, Schedule, State, TrainingError

from ...support.training.lines import SCHEDULE, line, run


def test_a_budget_of_minutes_ends_the_run_early(tmp_path: Path) -> None:
    state = run(tmp_path, Schedule(steps=10**9, batch=4), minutes=0.01)
    assert 0 < state.step < 10**6
    assert (tmp_path / "latest.pt").is_file()


def test_minutes_of_processor_time_do_not_count_waiting(tmp_path: Path) -> None:
    def wait(state: State, part: float, losses: dict[str, float]) -> None:
        time.sleep(0.05)

    by_wall, by_cpu = (run(tmp_path / clock, minutes=1 / 60, clock=clock, watch=wait) for clock in ("wall", "cpu"))
    assert by_wall.step < SCHEDULE.steps, "forty waits take two seconds"
    assert by_cpu.step == SCHEDULE.steps
    assert 0 < by_cpu.seconds < 1


def test_minutes_may_be_added_to_a_run(tmp_path: Path) -> None:
    short, long = ({"recipe": "a", "options": {"set": "x", "minutes": value}} for value in (0.001, None))
    schedule = replace(SCHEDULE, steps=300)
    first = run(tmp_path, schedule, minutes=0.001, description=short)
    assert first.step < 300
    assert run(tmp_path, schedule, description=long).step == 300
    with pytest.raises(TrainingError, match="set was 'x', given is 'y'"):
        run(tmp_path, schedule, description={"recipe": "a", "options": {"set": "y", "minutes": None}})


def test_rates_follow_a_cosine_or_drop_in_steps() -> None:
    cosine = Optimiser(learning_rate=1.0, warmup=10, floor=0.1)
    assert cosine.learning_rate_at(0.0, 0) == pytest.approx(0.1)
    assert cosine.learning_rate_at(0.0, 9) == pytest.approx(1.0)
    assert cosine.learning_rate_at(0.5, 99) == pytest.approx(0.55)
    assert cosine.learning_rate_at(1.0, 99) == pytest.approx(0.1)
    drops = Optimiser(learning_rate=1.0, drops=((0.5, 0.1), (0.75, 0.5)))
    assert [drops.learning_rate_at(part, 0) for part in (0, 0.49, 0.5, 0.75, 1)] == pytest.approx(
        [1, 1, 0.1, 0.05, 0.05]
    )
    assert Optimiser(learning_rate=0.3, drops=()).learning_rate_at(0.9, 0) == 0.3


@pytest.mark.parametrize(
    ("kind", "expected"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_each_kind_of_optimiser_decays_weights_and_not_offsets(kind: str, expected: type) -> None:
    learner = line()
    optimiser = Optimiser(kind, decay=0.5).over(learner.trained("all"))  # type: ignore[arg-type]
    assert type(optimiser) is expected
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decays[id(learner.linear.weight)] == 0.5
    assert decays[id(learner.linear.bias)] == 0.0
