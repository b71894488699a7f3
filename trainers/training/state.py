"""State of a training run, and the checkpoints that hold it."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from .. import checkpoint
from ..checkpoint import TrainingError
from ..learner import Learner
from .record import Means
from .schedule import Schedule

log = logging.getLogger(__name__)

_COUNTERS = ("turns", "step", "seconds", "best", "validated", "waited", "figures")


@dataclass(slots=True)
class State:
    """State that changes during a run; ``latest.pt`` holds all of it.

    Attributes:
        learner: learner that is trained.
        ema: learner that is validated and saved: the moving average (EMA) of ``learner``, or ``learner`` itself.
        optimisers: torch optimisers by turn.
        turns: steps done, by turn.
        step: steps done in all.
        seconds: training time, without that of earlier processes' validation after a stop.
        best: lowest criterion so far.
        validated: step of the last validation, -1 before the first.
        waited: validations since the best one.
        means: mean losses since the last report.
        figures: figures of the last validation.
    """

    learner: Learner
    ema: Learner
    optimisers: dict[str, torch.optim.Optimizer]
    turns: dict[str, int]
    step: int = 0
    seconds: float = 0.0
    best: float = math.inf
    validated: int = -1
    waited: int = 0
    means: Means = field(default_factory=Means)
    figures: dict[str, float] = field(default_factory=dict)


def begin(learner: Learner, schedule: Schedule, path: Path, description: Mapping[str, Any]) -> State:
    """Return the state at the start of a run, or restore it from the checkpoint at ``path``.

    Raises:
        TrainingError: the checkpoint lacks an entry, or is of a run with another schedule or description.
    """
    ema = copy.deepcopy(learner).eval().requires_grad_(False) if schedule.ema else learner
    optimisers = {each.turn: each.over(learner.trained(each.turn)) for each in schedule.optimisers}
    state = State(learner, ema, optimisers, dict.fromkeys(optimisers, 0))
    if path.is_file():
        saved = checkpoint.load(path)
        if lacking := [name for name in ("model", "optimisers", "means", "schedule", *_COUNTERS) if name not in saved]:
            raise TrainingError(f"{path}: lacks {', '.join(lacking)}; no run can resume from it; choose another --out")
        _check(path, saved, {"schedule": asdict(schedule), **description})
        _resume(state, saved)
        log.info("resuming %s at step %d", path, state.step)
    return state


def _check(path: Path, saved: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    before = {name: saved["description"].get(name) for name in asked} | {"schedule": saved["schedule"]}
    differ = [name for name in asked if _fixed(before[name]) != _fixed(asked[name])]
    if differ:
        was, now = ({name: values[name] for name in differ} for values in (before, asked))
        raise TrainingError(
            f"{path} was trained with {was}, given is {now}; choose another --out, or the same settings to resume"
        )


def _fixed(settings: Any) -> Any:
    """Return the settings that must not change when a run is resumed: all except ``minutes``, which may grow."""
    return {**settings, "minutes": None} if isinstance(settings, Mapping) else settings


def _resume(state: State, saved: Mapping[str, Any]) -> None:
    checkpoint.fill(state.learner, saved["model"])
    if state.ema is not state.learner:
        checkpoint.fill(state.ema, saved["average"])
    for turn, optimiser in state.optimisers.items():
        optimiser.load_state_dict(saved["optimisers"][turn])
    state.means = Means(saved["means"])
    for name in _COUNTERS:
        setattr(state, name, saved[name])


def save_latest(state: State, schedule: Schedule, description: Mapping[str, Any], folder: Path) -> None:
    """Write ``latest.pt``: everything needed to resume the run."""
    saved = {
        "model": checkpoint.kept(state.learner),
        "optimisers": {turn: optimiser.state_dict() for turn, optimiser in state.optimisers.items()},
        "means": state.means.sums,
        "schedule": asdict(schedule),
    }
    counters = {name: getattr(state, name) for name in _COUNTERS}
    checkpoint.save(_usable(state, description) | saved | counters, folder / "latest.pt")


def save_best(state: State, description: Mapping[str, Any], folder: Path) -> None:
    """Write ``best.pt``: the network without the training state."""
    checkpoint.save(_usable(state, description), folder / "best.pt")


def _usable(state: State, description: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "average": checkpoint.kept(state.ema),
        "step": state.step,
        "figures": state.figures,
        "description": {**description, "structure": state.learner.structure()},
    }


@torch.no_grad()
def update_ema(state: State, decay: float) -> None:
    """Update the moving average (EMA) of the weights after a step; its decay is lower early in the run."""
    if state.ema is state.learner:
        return
    done = state.step + 1
    keep = min(decay, (1 + done) / (10 + done))
    for mean, value in zip(state.ema.parameters(), state.learner.parameters(), strict=True):
        mean.lerp_(value, 1 - keep)
    for statistic, current in zip(state.ema.buffers(), state.learner.buffers(), strict=True):
        if statistic.is_floating_point():
            statistic.lerp_(current, 1 - keep)
        else:
            statistic.copy_(current)
