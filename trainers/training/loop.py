"""Training loop: functions over a learner, an endless stream of samples and named losses."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ...engines.errors import lacks_memory
from ...engines.signals import ignore
from ..checkpoint import TrainingError
from ..data.tolerance import Drawn, Tolerant, gathered
from ..learner import Learner
from . import processes
from .folder import locked
from .precision import warn_of_slow_bf16
from .record import Record
from .schedule import Optimiser as Optimiser
from .schedule import Schedule as Schedule
from .state import State, begin, save_best, save_latest, update_ema
from .stopping import Stopping

Validate = Callable[[nn.Module], dict[str, float]]
Watch = Callable[[State, float, dict[str, float]], None]
Precision = Literal["fp32", "bf16"]
Clock = Literal["wall", "cpu"]

log = logging.getLogger(__name__)

SAVE_EVERY = 300.0
"""Seconds between checkpoints, independent of steps."""
NOTE = "note:"
"""Prefix of the learner's notes among the means, which are not losses."""
LONGEST_ROUND = 1_000_000
"""Number of steps searched for every objective that has an optimiser."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Settings that stay constant for the whole run."""

    schedule: Schedule
    folder: Path
    record: Record
    validate: Validate | None
    criterion: str
    minutes: float | None
    clock: Clock
    device: torch.device
    precision: Precision
    description: dict[str, Any]
    watch: Watch | None
    skip_bad: int
    skipped: dict[str, None] = field(default_factory=dict)

    def now(self) -> float:
        """Return the current time of the run's clock in seconds; only differences are meaningful."""
        return time.monotonic() if self.clock == "wall" else time.process_time() / torch.get_num_threads()

    def progress(self, state: State) -> float:
        """Return the fraction of the run that is done, 0..1."""
        by_time = state.seconds / (60 * self.minutes) if self.minutes else 0.0
        by_steps = state.step / self.schedule.steps if self.schedule.steps else 1.0
        return max(by_steps, by_time)

    def over(self, state: State) -> bool:
        """Return True if the run is complete or its patience is exhausted."""
        patience = self.schedule.patience
        return self.progress(state) >= 1 or (patience is not None and state.waited >= patience)


def train(
    learner: Learner,
    samples: Dataset[Any],
    schedule: Schedule,
    folder: Path,
    *,
    collate: Callable[[list[Any]], Any] | None = None,
    validate: Validate | None = None,
    criterion: str = "loss",
    minutes: float | None = None,
    clock: Clock = "wall",
    workers: int = 0,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
    description: dict[str, Any] | None = None,
    watch: Watch | None = None,
    skip_bad: int = 0,
    extend: bool = False,
) -> State:
    """Train ``learner``, resuming from the checkpoint in ``folder`` if there is one.

    Under torchrun (see ``processes.joined``) each process draws its share of each batch. The first process writes all
    files and reports the losses of its own share.
    A checkpoint is written at each validation, every five minutes, and on a signal that ends the process.

    Args:
        learner: moved to ``device``.
        samples: item i is the i-th sample of the whole run, so that a resumed run sees the same samples as an
            uninterrupted one.
        schedule: steps, learning rates and seed.
        folder: receives ``record.jsonl``, ``latest.pt`` and ``best.pt``.
        collate: turns a list of samples into a batch.
        validate: maps the learner to named figures; ``criterion`` names the one to minimise for ``best.pt``.
        criterion: see ``validate``.
        minutes: training time budget. If it ends before the steps do, the learning rate follows time instead of steps.
        clock: ``wall``, or ``cpu``: the processor time of this process divided by torch's threads, which other work
            on the machine does not affect.
        workers: number of processes that prepare samples.
        device: device to train on.
        precision: ``bf16`` runs the operations that torch's autocast considers safe in bfloat16.
        description: recipe and options, stored in each checkpoint for ``load_trained``.
        watch: called after each step with the state, the fraction of the run that is done, and the losses of the step.
        skip_bad: number of different errors of the data that are skipped; another sample takes the place of each.
        extend: the schedule may have more steps than the checkpoint that the run resumes from.

    Raises:
        TrainingError: a loss is not finite (the message names its parts), the checkpoint belongs to another schedule,
            an objective has no optimiser or is never reached, the batch cannot be divided among the processes, another
            process trains in ``folder``, or more than ``skip_bad`` samples cannot be read; the checkpoint is written
            before.
        Stopped: after Ctrl-C or another signal that ends the process, once the checkpoint is written.
    """
    device = torch.device(device)
    learner.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    about = description or {}
    _check_objectives(learner, schedule)
    first = processes.rank() == 0
    if first and precision == "bf16":
        warn_of_slow_bf16(device)
    with locked(folder) if first else nullcontext():
        state = begin(learner, schedule, folder / "latest.pt", about, extend=extend, processes=processes.size())
        with Record(folder, silent=not first) as record, Stopping() as stopping:
            run = _Run(
                schedule, folder, record, validate, criterion, minutes, clock, device, precision, about, watch, skip_bad
            )
            record.write("start", step=state.step, schedule=asdict(schedule), minutes=minutes, clock=clock, **about)
            _steps(state, run, _batches(samples, run, state.step, collate, workers), stopping)
    return state


def _check_objectives(learner: Learner, schedule: Schedule) -> None:
    """Check that the run reaches every objective that has an optimiser; otherwise a part would silently never train."""
    waiting = {each.objective for each in schedule.optimisers}
    late: dict[str, int] = {}  # number of steps needed to reach an objective
    for step in range(LONGEST_ROUND if schedule.steps else 0):
        objective = learner.objective(step)
        if objective in waiting and step >= schedule.steps:
            late[objective] = step + 1
        waiting.discard(objective)
        if not waiting:
            break
    if late:
        names, least = " and ".join(map(repr, late)), max(late.values())
        raise TrainingError(f"{schedule.steps} steps never reach the objective {names}; give at least {least} steps")


class _Share(Sampler[int]):
    """Sampler of the samples of this process: its share of each batch, starting at step ``first``."""

    def __init__(self, schedule: Schedule, first: int) -> None:
        if schedule.batch % processes.size():
            raise TrainingError(
                f"a batch of {schedule.batch} cannot be divided among {processes.size()} processes; "
                f"choose a --batch that is a multiple of {processes.size()}"
            )
        self.schedule, self.first, self.size = schedule, first, schedule.batch // processes.size()

    def __iter__(self) -> Iterator[int]:
        for step in range(self.first, self.schedule.steps):
            begin = step * self.schedule.batch + processes.rank() * self.size
            yield from range(begin, begin + self.size)


def _batches(
    samples: Dataset[Any],
    run: _Run,
    step: int,
    collate: Callable[[list[Any]], Any] | None,
    workers: int,
) -> Iterator[Any]:
    share = _Share(run.schedule, step)
    loader = DataLoader(
        Tolerant(samples, replace=run.skip_bad > 0),
        share.size,
        sampler=share,
        collate_fn=partial(gathered, collate or default_collate),
        num_workers=workers,
        worker_init_fn=_without_signals,
        pin_memory=run.device.type == "cuda",
    )
    return iter(loader)


def _without_signals(_: int) -> None:
    """Ignore signals in a worker process; the training process handles those sent to the whole process group.

    A second SIGTERM still ends the worker: torch sends it to a process that does not respond.
    """
    ignore()
    signal.signal(signal.SIGTERM, _end_at_the_next)


def _end_at_the_next(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)


def _steps(state: State, run: _Run, batches: Iterator[Any], stopping: Stopping) -> None:
    module = processes.shared(_Losses(state.learner), run.device)
    begin, saved = run.now() - state.seconds, time.monotonic()
    state.learner.train()
    while True:
        state.seconds, stop = processes.agreed(run.now() - begin, stopping.asked, run.device)
        if stop:
            _save_latest(state, run)
            stopping.leave()
        due = run.over(state) or (state.step > 0 and state.step % run.schedule.validate_every == 0)
        if due and state.step != state.validated:
            _validate(state, run)
            saved = time.monotonic()
        if run.over(state):
            return
        with _memory(run):
            _step(state, run, module, _readable(state, run, next(batches)))
        if time.monotonic() - saved > SAVE_EVERY:
            _save_latest(state, run)
            saved = time.monotonic()


@contextmanager
def _memory(run: _Run) -> Iterator[None]:
    """Name the remedy where the memory does not suffice for a step.

    Raises:
        TrainingError: there is not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        raise TrainingError(
            f"there is not enough memory for a step of {run.schedule.batch} samples; give a smaller --batch, or fewer "
            "--workers"
        ) from error


def _readable(state: State, run: _Run, drawn: Drawn) -> Any:
    """Return the batch, after reporting the files left out of it; too many end the run, after a checkpoint."""
    known = len(run.skipped)
    run.skipped.update(dict.fromkeys(drawn.errors))
    new, allowed = list(run.skipped)[known:], max(run.skip_bad - known, 0)
    for count, message in enumerate(new[:allowed], known + 1):
        run.record.write("skipped", step=state.step, error=message, count=count)
        log.warning("%s; left out, number %d of the %d that --skip-bad allows", message, count, run.skip_bad)
    if new[allowed:] or drawn.batch is None:
        _save_latest(state, run)
        first, *others = new[allowed:] or drawn.errors
        raise TrainingError(
            f"{first}{f', and {len(others)} more' if others else ''}; the checkpoint of step {state.step} is written: "
            "correct or remove what cannot be read and run the command again, or leave it out with --skip-bad "
            f"{max(len(run.skipped), run.skip_bad + 1)} or more"
        )
    return drawn.batch


class _Losses(nn.Module):
    """Module whose forward pass computes the losses, to be wrapped in DistributedDataParallel."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, batch: Any, objective: str) -> dict[str, Tensor]:
        return self.learner.losses(batch, objective)


def _step(state: State, run: _Run, module: nn.Module, batch: Any) -> None:
    learner, schedule, progress = state.learner, run.schedule, run.progress(state)
    objective = learner.objective(state.step)
    settings = next((each for each in schedule.optimisers if each.objective == objective), None)
    if settings is None:
        raise TrainingError(
            f"the schedule has no optimiser for the objective {objective!r}, only for {', '.join(state.optimisers)}"
        )
    learning_rate = settings.learning_rate_at(progress, state.steps_done[objective])
    for group in state.optimisers[objective].param_groups:
        group["lr"] = learning_rate
    processes.seed(schedule.seed, state.step)
    with torch.autocast(run.device.type, torch.bfloat16, enabled=run.precision == "bf16"):
        try:
            parts = module(moved(batch, run.device), objective)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise TrainingError(
                f"batch normalisation needs two samples per process; give a larger batch ({error})"
            ) from error
    total = torch.stack([part.float() for part in parts.values()])
    values = dict(zip(parts, total.tolist(), strict=True))
    if not math.isfinite(sum(values.values())):
        raise TrainingError(
            f"step {state.step}: the loss is not finite: {values}; lower the learning rate or check the data"
        )
    learner.zero_grad(set_to_none=True)
    total.sum().backward()  # type: ignore[no-untyped-call]
    if schedule.clip is not None:
        nn.utils.clip_grad_norm_(learner.trained(objective), schedule.clip)
    state.optimisers[objective].step()
    update_ema(state, schedule.ema)
    _note(state, run, objective, learning_rate, values)


def moved(batch: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on ``device``, images in channels-last format."""
    if isinstance(batch, Tensor):
        layout = torch.channels_last if batch.ndim == 4 else torch.preserve_format
        return batch.to(device, non_blocking=True, memory_format=layout)
    if isinstance(batch, dict):
        return {name: moved(value, device) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)([moved(value, device) for value in batch])
    return batch


def _note(state: State, run: _Run, objective: str, learning_rate: float, values: dict[str, float]) -> None:
    """Count the step, update the loss means, write the record and call ``watch``."""
    state.step += 1
    state.steps_done[objective] += 1
    state.learner.on_step(state.step)
    notes = {f"{NOTE}{name}": float(value) for name, value in state.learner.notes().items()}
    state.means.add(values | notes)
    if state.step % run.schedule.reporting == 0:
        _report(state, run, learning_rate)
    if run.watch:
        run.watch(state, run.progress(state), values)


def _report(state: State, run: _Run, learning_rate: float) -> None:
    """Write the mean losses since the last report, and the learner's notes, if it has any."""
    means, part = state.means.take(), run.progress(state)
    when = {"step": state.step, "seconds": round(state.seconds, 1)}
    left = {"left": round(state.seconds * (1 / part - 1))} if part > 0 else {}
    losses = {name: value for name, value in means.items() if not name.startswith(NOTE)}
    run.record.write("train", **when, **left, learning_rate=learning_rate, **losses)
    if notes := {name.removeprefix(NOTE): value for name, value in means.items() if name.startswith(NOTE)}:
        run.record.write("notes", **when, **notes)


def _validate(state: State, run: _Run) -> None:
    """Validate on the first process and save the weights if they are the best so far."""
    try:
        figures = processes.broadcast(_figures(state, run))
    except BaseException:
        _save_latest(state, run)
        raise
    if figures:
        run.record.write("validate", step=state.step, seconds=round(state.seconds, 1), **figures)
        if run.criterion not in figures:
            raise TrainingError(f"validation returned {', '.join(figures)}, but not the criterion {run.criterion!r}")
    value = figures.get(run.criterion, math.inf)
    improved = value < state.best or not figures
    if improved:
        state.best = value
    state.waited = 0 if improved else state.waited + 1
    state.validated, state.figures = state.step, figures
    _save_latest(state, run)
    if improved and processes.rank() == 0:
        save_best(state, run.description, run.folder)


@torch.no_grad()
def _figures(state: State, run: _Run) -> dict[str, float]:
    if run.validate is None or processes.rank() > 0:
        return {}
    state.ema.eval()
    try:
        return run.validate(state.ema)
    finally:
        state.learner.train()


def _save_latest(state: State, run: _Run) -> None:
    if processes.rank() == 0:
        save_latest(state, run.schedule, run.description, run.folder, processes=processes.size())
