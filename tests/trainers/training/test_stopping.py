"""Stopped training runs: signals, what they leave, and that a resumed run equals an unbroken one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nasion.engines import signals
from nasion.engines.signals import Stopped
from nasion.trainers import checkpoint
from nasion.trainers.training.loop import Schedule, State
from nasion.trainers.training.record import read_record

from ...support.training.lines import ALTERNATING, SCHEDULE, AlternatingLearner, run, same


class Stop(Exception):
    pass


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path, average: float) -> None:
    """With dropout, momentum, an average and a stop in the middle between two reports."""
    schedule = replace(SCHEDULE, ema=average)
    unbroken: list[float] = []
    whole = run(tmp_path / "whole", schedule, watch=lambda s, p, losses: unbroken.append(losses["square"]))
    assert len(set(unbroken)) == 40

    def stop_at_20(_: nn.Module) -> dict[str, float]:
        torch.rand(3)  # validation may draw; the training after it must not notice
        calls.append(1)
        if len(calls) == 2:
            raise Stop
        return {"loss": 1.0}

    calls: list[int] = []
    again: list[float] = []
    broken = tmp_path / "broken"
    with pytest.raises(Stop):
        run(broken, schedule, validate=stop_at_20)
    resumed = run(broken, schedule, watch=lambda s, p, losses: again.append(losses["square"]))
    assert again == unbroken[20:]
    assert same(resumed.learner, whole.learner)
    assert same(resumed.ema, whole.ema)
    told = [
        [r["square"] for r in read_record(folder / "record.jsonl") if r["kind"] == "train"]
        for folder in (tmp_path / "whole", broken)
    ]
    assert told[0] == told[1]


def test_a_signal_between_reports_leaves_a_checkpoint_that_goes_on_exactly(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")

    def interrupt(state: State, part: float, losses: dict[str, float]) -> None:
        if state.step == 17:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", watch=interrupt)
    assert checkpoint.load(tmp_path / "broken" / "latest.pt")["step"] == 17
    assert same(run(tmp_path / "broken").learner, whole.learner)
    means = [
        [r.get("square") for r in read_record(tmp_path / name / "record.jsonl") if r["kind"] == "train"]
        for name in ("whole", "broken")
    ]
    assert means[0] == means[1], "the report in which it was stopped is a mean over all of its steps"


def test_sigterm_stops_with_its_own_status_and_a_checkpoint(tmp_path: Path) -> None:
    def terminate(state: State, part: float, losses: dict[str, float]) -> None:
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped) as stopped:
        run(tmp_path, watch=terminate)
    assert stopped.value.status == 143
    assert (tmp_path / "latest.pt").is_file()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(("patience", "parts"), [(60.0, [1, 2]), (-1.0, [1])])
def test_a_second_signal_waits_for_the_checkpoint_unless_it_comes_much_later(
    patience: float, parts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "PATIENCE", patience)
    reached: list[int] = []

    def twice(state: State, part: float, losses: dict[str, float]) -> None:
        signal.raise_signal(signal.SIGINT)
        reached.append(1)
        signal.raise_signal(signal.SIGTERM)
        reached.append(2)

    with pytest.raises(Stopped, match="Ctrl-C"):
        run(tmp_path, watch=twice)
    assert reached == parts
    assert (tmp_path / "latest.pt").exists() == (parts == [1, 2])


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system sends no signals to groups of processes")
def test_a_signal_to_all_processes_leaves_the_checkpoint_to_the_first(tmp_path: Path) -> None:
    def all_of_them(state: State, part: float, losses: dict[str, float]) -> None:
        if state.step == 3:
            for child in multiprocessing.active_children():
                for number in (signal.SIGHUP, signal.SIGTERM):
                    os.kill(child.pid or 0, number)
        if state.step == 5:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped, match="SIGTERM"):
        run(tmp_path, Schedule(steps=1000, batch=4), workers=1, watch=all_of_them)
    assert checkpoint.load(tmp_path / "latest.pt")["step"] == 5


def _interrupt_at_7(state: State, part: float, losses: dict[str, float]) -> None:
    if state.step == 7:
        signal.raise_signal(signal.SIGINT)


def test_a_run_of_an_older_version_is_resumed(tmp_path: Path) -> None:
    """``latest.pt`` of a run in progress has ``turns`` and ``turn`` for ``steps_done`` and ``objective``."""
    whole = run(tmp_path / "whole", ALTERNATING, AlternatingLearner())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "older", ALTERNATING, AlternatingLearner(), watch=_interrupt_at_7)
    path = tmp_path / "older" / "latest.pt"
    saved = checkpoint.load(path)
    saved["turns"] = saved.pop("steps_done")
    for each in saved["schedule"]["optimisers"]:
        each["turn"] = each.pop("objective")
    checkpoint.save(saved, path)
    assert same(run(tmp_path / "older", ALTERNATING, AlternatingLearner()).learner, whole.learner)


def test_objectives_go_on_exactly_too(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", ALTERNATING, AlternatingLearner())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", ALTERNATING, AlternatingLearner(), watch=_interrupt_at_7)
    resumed = run(tmp_path / "broken", ALTERNATING, AlternatingLearner())
    assert same(resumed.learner, whole.learner)
    assert resumed.steps_done == whole.steps_done
    assert int(resumed.learner.get_buffer("seen")) == 12


def test_a_stop_with_workers_goes_on_exactly_too(tmp_path: Path) -> None:
    """Workers have drawn samples of steps that never were: a resumed run draws them again."""
    whole = run(tmp_path / "whole")

    def interrupt(state: State, part: float, losses: dict[str, float]) -> None:
        if state.step == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", workers=2, watch=interrupt)
    assert checkpoint.load(tmp_path / "broken" / "latest.pt")["step"] == 7
    resumed = run(tmp_path / "broken", workers=2)
    assert same(resumed.learner, whole.learner)
    assert same(resumed.ema, whole.ema)
