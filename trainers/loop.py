"""The training loop: plain functions over a model, an endless stream of samples and a dict of named losses."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..engines.errors import NasionError
from .record import Record

log = logging.getLogger(__name__)

Losses = Callable[[Any, Any], dict[str, Tensor]]
Validate = Callable[[nn.Module], dict[str, float]]


class TrainingError(NasionError):
    """A run that cannot start, resume or go on."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a network learns.

    Attributes:
        steps: optimiser steps of the whole run.
        batch: samples a step.
        rate: peak learning rate of AdamW; warmed up over ``warmup`` steps, then a cosine down to a hundredth.
        decay: weight decay of the weights with more than one dimension.
        average: decay of the exponential moving average of the weights, which is what is validated and kept.
        clip: largest norm of the gradient.
        validate_every, report_every: in steps.
        seed: of the initial weights and the samples.
    """

    steps: int
    batch: int
    rate: float
    decay: float = 0.01
    warmup: int = 300
    average: float = 0.9995
    clip: float = 5.0
    validate_every: int = 2000
    report_every: int = 100
    seed: int = 0


@dataclass(slots=True)
class State:
    """All that changes during a run; a checkpoint holds just this."""

    model: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    best: float = math.inf


def train(
    model: nn.Module,
    samples: Dataset[Any],
    losses: Losses,
    schedule: Schedule,
    folder: Path,
    *,
    collate: Callable[[list[Any]], Any] | None = None,
    validate: Validate | None = None,
    criterion: str = "loss",
    minutes: float | None = None,
    workers: int = 0,
    description: dict[str, Any] | None = None,
) -> State:
    """Train, or go on where ``folder``'s checkpoint ends.

    Args:
        model: called by ``losses`` only.
        samples: item i is the i-th sample of the whole run, so that a resumed run sees what an unbroken one would.
        losses: model and batch to named losses, which are added.
        schedule: steps, rates, seeds.
        folder: receives ``record.jsonl``, ``latest.pt`` and ``best.pt``.
        collate: list of samples to batch.
        validate: averaged model to named figures; ``criterion`` names the one to minimise for ``best.pt``.
        criterion: see ``validate``.
        minutes: a budget of training time; the learning rate then follows time instead of steps where that ends first.
        workers: processes that prepare samples.
        description: stored in each checkpoint, for export.

    Raises:
        TrainingError: a loss is not finite (its parts are named), or the checkpoint belongs to another schedule.
    """
    state = _start(model, schedule, folder)
    with Record(folder) as record:
        record.write("start", step=state.step, schedule=asdict(schedule), minutes=minutes, **(description or {}))
        batches = _batches(samples, schedule, state.step, collate, workers)
        clock, carried = time.monotonic(), state.seconds
        model.train()
        while (progress := _progress(state, schedule, minutes)) < 1:
            rate = _rate(state.step, progress, schedule)
            parts = _step(state, next(batches), losses, schedule, rate)
            state.step += 1
            state.seconds = carried + time.monotonic() - clock
            if state.step % schedule.report_every == 0:
                record.write("train", step=state.step, seconds=round(state.seconds, 1), rate=rate, **parts)
            if state.step % schedule.validate_every == 0:
                _checkpoint(state, schedule, folder, record, validate, criterion, description)
        _checkpoint(state, schedule, folder, record, validate, criterion, description)
    return state


def _start(model: nn.Module, schedule: Schedule, folder: Path) -> State:
    grouped: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in model.parameters():
        grouped[parameter.ndim > 1].append(parameter)
    groups = [
        {"params": grouped[True], "weight_decay": schedule.decay},
        {"params": grouped[False], "weight_decay": 0.0},
    ]
    state = State(model, copy.deepcopy(model).eval().requires_grad_(False), torch.optim.AdamW(groups, lr=schedule.rate))
    latest = folder / "latest.pt"
    if latest.is_file():
        saved = torch.load(latest, weights_only=True)
        if saved["schedule"] != asdict(schedule):
            raise TrainingError(
                f"{latest} was trained with {saved['schedule']}, asked for is {asdict(schedule)}; "
                "choose another --out, or the same settings to go on"
            )
        for part in ("model", "average", "optimiser"):
            getattr(state, part).load_state_dict(saved[part])
        state.step, state.seconds, state.best = saved["step"], saved["seconds"], saved["best"]
        log.info("resuming %s at step %d", latest, state.step)
    return state


def _batches(
    samples: Dataset[Any],
    schedule: Schedule,
    step: int,
    collate: Callable[[list[Any]], Any] | None,
    workers: int,
) -> Iterator[Any]:
    order = range(step * schedule.batch, schedule.steps * schedule.batch)
    return iter(DataLoader(samples, schedule.batch, sampler=order, collate_fn=collate, num_workers=workers))


def _progress(state: State, schedule: Schedule, minutes: float | None) -> float:
    by_time = state.seconds / (60 * minutes) if minutes else 0.0
    return max(state.step / schedule.steps, by_time)


def _rate(step: int, progress: float, schedule: Schedule) -> float:
    warm = min(1.0, (step + 1) / schedule.warmup)
    return schedule.rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


def _step(state: State, batch: Any, losses: Losses, schedule: Schedule, rate: float) -> dict[str, float]:
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    parts = losses(state.model, batch)
    total = torch.stack(list(parts.values())).sum()
    values = {name: float(value.detach()) for name, value in parts.items()}
    if not math.isfinite(float(total.detach())):
        raise TrainingError(f"step {state.step}: the loss is not finite: {values}; lower the rate or look at the data")
    state.optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.model.parameters(), schedule.clip)
    state.optimiser.step()
    _follow(state, schedule)
    return {name: round(value, 5) for name, value in values.items()}


@torch.no_grad()
def _follow(state: State, schedule: Schedule) -> None:
    """Move the averaged weights; the average forgets its start faster while the run is young."""
    keep = min(schedule.average, (1 + state.step) / (10 + state.step))
    for mean, value in zip(state.average.parameters(), state.model.parameters(), strict=True):
        mean.lerp_(value, 1 - keep)
    for statistic, current in zip(state.average.buffers(), state.model.buffers(), strict=True):
        if statistic.is_floating_point():
            statistic.lerp_(current, 1 - keep)
        else:
            statistic.copy_(current)


def _checkpoint(
    state: State,
    schedule: Schedule,
    folder: Path,
    record: Record,
    validate: Validate | None,
    criterion: str,
    description: dict[str, Any] | None,
) -> None:
    figures = validate(state.average) if validate else {}
    if figures:
        record.write("validate", step=state.step, seconds=round(state.seconds, 1), **figures)
    improved = figures.get(criterion, math.inf) < state.best or not figures
    state.best = min(state.best, figures.get(criterion, math.inf))
    saved = {
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
        "best": state.best,
        "schedule": asdict(schedule),
        "description": description or {},
        "figures": figures,
    }
    _save(saved, folder / "latest.pt")
    if improved:
        _save({key: saved[key] for key in ("average", "step", "description", "figures")}, folder / "best.pt")


def _save(content: dict[str, Any], path: Path) -> None:
    """Write beside and rename, so that a stop in between never leaves half a checkpoint."""
    beside = path.with_suffix(".part")
    torch.save(content, beside)
    beside.replace(path)
