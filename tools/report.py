"""What a user sees of a run: progress while it goes on, and a table when it is over."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..engines.errors import printable

if TYPE_CHECKING:
    from ..realtime.faces import Face
    from ..realtime.sources import SourceInfo
    from ..realtime.timing import StageTime

PLAIN_EVERY = 10.0
"""Seconds between lines of progress where there is no terminal."""


class Counter(Protocol):
    """Takes note of each frame."""

    def advance(self) -> None:
        """One frame more is done."""
        ...


@contextmanager
def progress(info: SourceInfo, stream: TextIO | None = None) -> Iterator[Counter]:
    """A bar with frames per second and time left on a terminal, and a plain line now and then elsewhere."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield Lines(info, stream)
        return
    columns = (
        TextColumn("{task.description}", markup=False),  # a name may hold brackets
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} FPS"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=stream), refresh_per_second=4) as bars:
        yield Bar(bars, bars.add_task(printable(info.name), total=info.frames, fps=0.0))


class Bar:
    """A progress bar of rich."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        """Advance ``task``."""
        self._bars, self._task = bars, task
        self._begin, self._count = monotonic(), 0

    def advance(self) -> None:
        """One frame more is done."""
        self._count += 1
        fps = self._count / max(monotonic() - self._begin, 1e-9)
        self._bars.update(self._task, advance=1, fps=fps)


class Lines:
    """A line now and then: what a log file or a pipe wants."""

    def __init__(self, info: SourceInfo, stream: TextIO, *, every: float = PLAIN_EVERY) -> None:
        """Write to ``stream`` at most once in ``every`` seconds."""
        self._info, self._stream, self._every = info, stream, every
        self._begin = self._last = monotonic()
        self._count = 0

    def advance(self) -> None:
        """One frame more is done."""
        self._count += 1
        now = monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        fps = self._count / (now - self._begin)
        print(
            f"{printable(self._info.name)}: {self._done()}, {fps:.1f} FPS{self._left(fps)}",
            file=self._stream,
            flush=True,
        )

    def _done(self) -> str:
        total = f" of {self._info.frames}" if self._info.frames else ""
        return f"{self._count}{total} frames"

    def _left(self, fps: float) -> str:
        if not self._info.frames:
            return ""
        return f", {max(self._info.frames - self._count, 0) / fps:.0f} s left"


class Summary:
    """What a run found and what it took.

    Attributes:
        frames: frames tracked.
        faces: faces reported, over all frames.
        identities: how many different faces.
        dropped: frames of a live source that were never looked at.
        seconds: how long it took.
        stages: time per stage and frame.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self.frames = self.faces = self.dropped = self._with_face = 0
        self.seconds = 0.0
        self.stages: Mapping[str, StageTime] = {}
        self._ids: set[int] = set()

    @property
    def identities(self) -> int:
        """How many different faces."""
        return len(self._ids)

    @property
    def fps(self) -> float:
        """Frames per second, everything included."""
        return self.frames / self.seconds if self.seconds else 0.0

    def add(self, faces: list[Face]) -> None:
        """Take note of one frame."""
        self.frames += 1
        self.faces += len(faces)
        self._with_face += bool(faces)
        self._ids.update(face.id for face in faces)

    def finish(self, seconds: float, dropped: int, stages: Mapping[str, StageTime]) -> None:
        """Take note of the whole run."""
        self.seconds, self.dropped, self.stages = seconds, dropped, stages

    def print(self) -> None:
        """Print the tables on stdout."""
        counts = Table(box=None, show_header=False, pad_edge=False)
        counts.add_column()
        counts.add_column(justify="right")
        rows = {
            "frames": f"{self.frames:,}",
            "faces": f"{self.faces:,} in {self._with_face:,} frames",
            "identities": str(self.identities),
            "dropped": f"{self.dropped:,}",
            "FPS": f"{self.fps:.1f}",
        }
        for name, value in rows.items():
            counts.add_row(name, value)
        console = Console()
        console.print(counts)
        if self.stages:
            console.print()
            console.print(stage_table(self.stages))


def stage_table(stages: Mapping[str, StageTime]) -> Table:
    """Milliseconds a frame, one row a stage."""
    table = Table(box=None, pad_edge=False)
    table.add_column("ms a frame")
    for clock in ("wall", "CPU"):
        for figure in ("median", "p95", "mean"):
            table.add_column(f"{clock} {figure}", justify="right")
    for name, stage in stages.items():
        values = [value for clock in (stage.wall, stage.cpu) for value in (clock.median, clock.p95, clock.mean)]
        table.add_row(name, *(f"{value:.2f}" for value in values))
    return table
