"""Reports of a training: a progress line on a terminal, elsewhere one JSON line each."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from ...terminal.progress import Progress

if TYPE_CHECKING:
    from ....trainers.training.loop import Watch
    from ....trainers.training.state import State

RECORD_LOG = "nasion.trainers"


@contextmanager
def watching(
    name: str, stream: TextIO | None = None, *, silent: bool = False, quiet: bool = False
) -> Iterator[Watch | None]:
    """Yield a callback that shows steps, losses and time left on a terminal; elsewhere log one JSON line per report.

    With ``quiet``, only warnings are shown; with ``silent``, nothing.
    """
    stream, log = stream or sys.stderr, logging.getLogger(RECORD_LOG)
    if silent:
        yield None
        return
    if quiet or not stream.isatty():
        with _logged(log, logging.StreamHandler(stream), logging.WARNING if quiet else logging.DEBUG):
            yield None
        return
    with Progress(stream=stream) as progress:

        def watch(state: State, part: float, losses: Mapping[str, float]) -> None:
            told = "  ".join(f"{name} {value:.3g}" for name, value in losses.items())
            progress(f"{name}, step", state.step, round(state.step / part), told)  # estimated if time ends the run

        with _logged(log, _Above(progress), logging.INFO):
            yield watch


class _Above(logging.Handler):
    """Logging handler that prints above the progress."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.print(for_people(record.getMessage()))


def for_people(line: str) -> str:
    """Return a report of ``record.jsonl`` as text, for example ``validate, step 1,200: nme 0.0345``.

    Any other message is returned unchanged.
    """
    try:
        report = json.loads(line)
    except ValueError:
        return line
    values = {name: value for name, value in report.items() if isinstance(value, int | float)}
    values.pop("at", None)
    step = f", step {values.pop('step'):,}" if "step" in values else ""
    return f"{report['kind']}{step}: {', '.join(f'{name} {value:.4g}' for name, value in values.items())}".rstrip(": ")


@contextmanager
def _logged(log: logging.Logger, handler: logging.Handler, level: int) -> Iterator[None]:
    """Send ``log`` to ``handler`` within the context."""
    before = log.level
    log.addHandler(handler)
    log.setLevel(level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
