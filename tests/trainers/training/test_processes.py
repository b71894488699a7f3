"""Many processes that train as one, started as torchrun starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nasion.trainers import checkpoint
from nasion.trainers.learner import Learner
from nasion.trainers.systems import load_trained
from nasion.trainers.training import processes
from nasion.trainers.training.loop import Schedule, State, TrainingError, train
from nasion.trainers.training.record import read_record

from ...conftest import ROOT
from ...support.data_sets.labelled import write_data
from ...support.model_files.trained import write_checkpoint
from ...support.training.lines import (
    ALTERNATING,
    FACTORS_AND_WEIGHTS,
    SCHEDULE,
    AlternatingLearner,
    Crops,
    Line,
    line,
    numbers,
    supernet,
    weights,
)


def run(folder: Path, schedule: Schedule = SCHEDULE, learner: Learner | None = None, **options: object) -> State:
    return train(learner or line(), Line(), schedule, folder, **options)  # type: ignore[arg-type]


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """Same weights in both, within rounding those of a single process, and only the first one writes."""
    root = ROOT
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = os.pathsep.join([str(root), str(root / "src")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [*launch, "-m", "tests.support.training.lines", str(tmp_path / "pair")]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / "pair" / f"rank{k}.json").read_text()) for k in range(2))
    assert first == second
    alone = run(tmp_path / "alone", learner=line(noise=0), validate=lambda _: {"loss": 1.0})
    alternating = run(tmp_path / "alternating", ALTERNATING, AlternatingLearner(noise=0))
    assert first["weights"] == pytest.approx(numbers(alone.learner), rel=1e-4)
    assert first["alternating"] == pytest.approx(numbers(alternating.learner), rel=1e-4)
    _supernets_are_the_same(tmp_path)
    kinds = [report["kind"] for report in read_record(tmp_path / "pair" / "record.jsonl")]
    assert kinds == ["start", *["train", "validate"] * 4]
    assert checkpoint.load(tmp_path / "pair" / "latest.pt")["step"] == 40


def _supernets_are_the_same(folder: Path) -> None:
    """A real system whose parts learn in alternation: every step of two processes went where that of one goes."""
    begin = weights(supernet())
    alone = weights(train(supernet(), Crops(), FACTORS_AND_WEIGHTS, folder / "supernet").learner)
    first, second = (torch.load(folder / "pair" / f"supernet{k}.pt", weights_only=True) for k in range(2))
    assert torch.equal(first, second)
    moved = (alone - begin).abs()
    assert (moved > 0).float().mean() > 0.5, "factors and weights"
    assert (first - alone).abs().max() < 1e-3 * moved.max()


def test_the_command_goes_on_from_an_earlier_stage_in_two_processes(tmp_path: Path) -> None:
    """As README and help have it: two slim networks learn from one supernet, and one folder is written."""
    data, start = write_data(tmp_path / "data"), write_checkpoint(tmp_path / "supernet", "sd-hrnet-supernet")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = ["--data", data, "--out", tmp_path / "slim", "--start", start, "--steps", "2", "--batch", "4"]
    command = [*launch, "-m", "--", "nasion.tools.main", "train", "sd-hrnet-slim", *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("slim: 2 steps") == 1
    assert load_trained(tmp_path / "slim" / "best.pt").recipe.name == "sd-hrnet-slim"


def test_a_batch_that_the_processes_cannot_share_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "size", lambda: 3)
    monkeypatch.setattr(processes, "rank", lambda: 0)
    with pytest.raises(TrainingError, match=r"batch of 4 cannot be divided among 3 processes; .* a multiple of 3"):
        run(tmp_path)
