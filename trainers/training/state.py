"""State of a training run, and the checkpoints that hold it."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Mapping
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

_COUNTERS = ("steps_done", "step", "seconds", "best", "validated", "waited", "figures")


@dataclass(slots=True)
class State:
    """State that changes during a run; ``latest.pt`` holds all of it.

    Attributes:
        learner: learner that is trained.
        ema: learner that is validated and saved: the moving average (EMA) of ``learner``, or ``learner`` itself.
        optimisers: torch optimisers by objective.
        steps_done: steps done, by objective.
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
    steps_done: dict[str, int]
    step: int = 0
    seconds: float = 0.0
    best: float = math.inf
    validated: int = -1
    waited: int = 0
    means: Means = field(default_factory=Means)
    figures: dict[str, float] = field(default_factory=dict)


def begin(
    learner: Learner,
    schedule: Schedule,
    path: Path,
    description: Mapping[str, Any],
    *,
    extend: bool = False,
    processes: int = 1,
) -> State:
    """Return the state at the start of a run, or restore it from the checkpoint at ``path``.

    Args:
        learner: learner as built.
        schedule: schedule of the run.
        path: checkpoint to resume from; it may be missing.
        description: recipe and options.
        extend: the number of steps may be higher than in the checkpoint.
        processes: number of processes that train together; another number than before is logged.

    Raises:
        TrainingError: the checkpoint lacks an entry, or is of a run with another schedule or description.
    """
    ema = copy.deepcopy(learner).eval().requires_grad_(False) if schedule.ema else learner
    optimisers = {each.objective: each.over(learner.trained(each.objective)) for each in schedule.optimisers}
    state = State(learner, ema, optimisers, dict.fromkeys(optimisers, 0))
    if path.is_file():
        saved = _renamed(checkpoint.load(path))
        if lacking := [name for name in ("model", "optimisers", "means", "schedule", *_COUNTERS) if name not in saved]:
            raise TrainingError(f"{path}: lacks {', '.join(lacking)}; no run can resume from it; choose another --out")
        _check(path, saved, {"schedule": asdict(schedule), **description}, extend=extend)
        _resume(state, saved)
        before = saved.get("processes", processes)
        if before != processes:
            log.warning(
                "%s was trained by %d processes and is resumed by %d: batches are divided in another way, so that the "
                "losses differ from those of an uninterrupted run",
                path,
                before,
                processes,
            )
        log.info("resuming %s at step %d", path, state.step)
    return state


def _renamed(saved: dict[str, Any]) -> dict[str, Any]:
    """Return the content of ``latest.pt`` with the present names; runs in progress have ``turn`` for ``objective``."""
    if "turns" not in saved:
        return saved
    optimisers = [
        {"objective" if name == "turn" else name: value for name, value in each.items()}
        for each in saved["schedule"]["optimisers"]
    ]
    return {**saved, "steps_done": saved["turns"], "schedule": {**saved["schedule"], "optimisers": optimisers}}


_MAY_CHANGE = ("options.minutes",)
_STEPS = "schedule.steps"


def _check(path: Path, saved: Mapping[str, Any], asked: Mapping[str, Any], *, extend: bool) -> None:
    """Check that the settings are those of the checkpoint; the message names only those that differ."""
    before = {name: saved["description"].get(name) for name in asked} | {"schedule": saved["schedule"]}
    was, now = dict(_flat(before)), dict(_flat(asked))
    differ = [name for name in (was | now) if was.get(name) != now.get(name) and name not in _MAY_CHANGE]
    longer = was.get(_STEPS, 0) < now.get(_STEPS, 0)
    if extend and longer:
        differ = [name for name in differ if name not in (_STEPS, "schedule.report_every")]
    if not differ:
        return
    changes = [f"{_shown(name)} was {was.get(name)!r}, given is {now.get(name)!r}" for name in differ]
    told = "; ".join(dict.fromkeys(changes))
    remedy = "the same settings to resume, or choose another --out"
    if differ == [_STEPS] and longer:
        remedy = "--extend to train on until then, the same number to resume, or choose another --out"
    raise TrainingError(f"{path} was trained with other settings: {told}; give {remedy}")


def _flat(settings: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings under their full names, such as ``schedule.optimisers.0.warmup``."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{within}{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
            yield from _flat({str(i): each for i, each in enumerate(value)}, f"{within}{name}.")
        else:
            yield f"{within}{name}", list(value) if isinstance(value, tuple) else value


def _shown(name: str) -> str:
    return name.removeprefix("schedule.").removeprefix("options.")


def _resume(state: State, saved: Mapping[str, Any]) -> None:
    checkpoint.fill(state.learner, saved["model"])
    if state.ema is not state.learner:
        checkpoint.fill(state.ema, saved["average"])
    for objective, optimiser in state.optimisers.items():
        optimiser.load_state_dict(saved["optimisers"][objective])
    state.means = Means(saved["means"])
    for name in _COUNTERS:
        setattr(state, name, saved[name])


def save_latest(
    state: State, schedule: Schedule, description: Mapping[str, Any], folder: Path, *, processes: int = 1
) -> None:
    """Write ``latest.pt``: everything needed to resume the run."""
    saved = {
        "model": checkpoint.kept(state.learner),
        "optimisers": {objective: optimiser.state_dict() for objective, optimiser in state.optimisers.items()},
        "means": state.means.sums,
        "schedule": asdict(schedule),
        "processes": processes,
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
