"""Summary of a tracking run, and tables of its results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ..engines.errors import NasionError

if TYPE_CHECKING:
    from ..realtime.faces.face import Face
    from ..realtime.threads.timing import StageTime
    from ..realtime.tracking.tracker import Tracker


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

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON data; times of the stages are in milliseconds per frame."""
        return {
            "frames": self.frames,
            "frames_with_a_face": self._with_face,
            "faces": self.faces,
            "identities": self.identities,
            "dropped": self.dropped,
            "seconds": self.seconds,
            "fps": self.fps,
            "stages": {name: asdict(stage) for name, stage in self.stages.items()},
        }

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


def running(tracker: Tracker) -> list[str]:
    """Return where the networks run and why: one line for all networks that share both."""
    alike: dict[str, list[str]] = {}
    for network in tracker.runtimes.values():
        place = "the CPU" if network.device == "cpu" else f"{network.device} with {network.provider}"
        alike.setdefault(f"on {place}; {network.reason}", []).append(network.spec.name)
    return [f"{'Running' if len(alike) == 1 else ', '.join(names)} {where}" for where, names in alike.items()]


def networks_of(tracker: Tracker) -> dict[str, dict[str, str]]:
    """Return name, runtime and device of each network, for the report."""
    return {
        part: {"model": network.spec.name, "provider": network.provider, "device": network.device}
        for part, network in tracker.runtimes.items()
    }


def close(stack: ExitStack) -> BaseException | None:
    """Close the outputs, and return the error of closing them, if any."""
    try:
        stack.close()
    except (KeyboardInterrupt, NasionError) as trouble:
        return trouble
    return None
