"""Progress of a run while it goes on, and tables of its results."""

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
"""Seconds between two progress lines if the stream is not a terminal."""


class Counter(Protocol):
    """Counter of tracked frames."""

    def advance(self) -> None:
        """Count one more frame."""
        ...


@contextmanager
def progress(info: SourceInfo, stream: TextIO | None = None) -> Iterator[Counter]:
    """Yield a counter that shows a bar with FPS and time left on a terminal, and occasional plain lines elsewhere."""
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
    """Counter that advances a progress bar of rich."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        """Advance the task ``task`` of ``bars``."""
        self._bars, self._task = bars, task
        self._begin, self._count = monotonic(), 0

    def advance(self) -> None:
        """Count one more frame."""
        self._count += 1
        fps = self._count / max(monotonic() - self._begin, 1e-9)
        self._bars.update(self._task, advance=1, fps=fps)


class Lines:
    """Counter that prints a plain line now and then, for log files and pipes."""

    def __init__(self, info: SourceInfo, stream: TextIO, *, every: float = PLAIN_EVERY) -> None:
        """Write at most one line per ``every`` seconds to ``stream``."""
        self._info, self._stream, self._every = info, stream, every
        self._begin = self._last = monotonic()
        self._count = 0

    def advance(self) -> None:
        """Count one more frame."""
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
    """Summary of a run: what it found and how long it took.

    Attributes:
        frames: number of frames tracked.
        faces: number of faces reported, over all frames.
        identities: number of different face IDs.
        dropped: number of frames of a live source that were skipped.
        seconds: duration of the run.
        stages: time per stage and frame.
    """

    def __init__(self) -> None:
        """Start with all counts at zero."""
        self.frames = self.faces = self.dropped = self._with_face = 0
        self.seconds = 0.0
        self.stages: Mapping[str, StageTime] = {}
        self._ids: set[int] = set()

    @property
    def identities(self) -> int:
        """Number of different face IDs."""
        return len(self._ids)

    @property
    def fps(self) -> float:
        """Frames per second over the whole run, all stages included."""
        return self.frames / self.seconds if self.seconds else 0.0

    def add(self, faces: list[Face]) -> None:
        """Add the faces of one frame."""
        self.frames += 1
        self.faces += len(faces)
        self._with_face += bool(faces)
        self._ids.update(face.id for face in faces)

    def finish(self, seconds: float, dropped: int, stages: Mapping[str, StageTime]) -> None:
        """Set the figures that are known only at the end of the run."""
        self.seconds, self.dropped, self.stages = seconds, dropped, stages

    def print(self) -> None:
        """Print the tables to stdout."""
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
    """Return a table of milliseconds per frame, one row per stage."""
    table = Table(box=None, pad_edge=False)
    table.add_column("ms per frame")
    for clock in ("wall", "CPU"):
        for figure in ("median", "p95", "mean"):
            table.add_column(f"{clock} {figure}", justify="right")
    for name, stage in stages.items():
        values = [value for clock in (stage.wall, stage.cpu) for value in (clock.median, clock.p95, clock.mean)]
        table.add_row(name, *(f"{value:.2f}" for value in values))
    return table
