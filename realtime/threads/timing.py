"""Wall and CPU time of each stage.

CPU time is that of the thread that ran the stage. A network with several threads also spends CPU time outside the
calling thread. The CPU time of the whole process is therefore measured end to end with ``time.process_time``, not here.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter, thread_time

KEEP = 20_000
"""Number of newest samples kept per stage: eleven minutes at 30 frames a second, less than 2 MB."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Distribution of a quantity in milliseconds.

    Attributes:
        mean: mean of all samples ever taken.
        median, p95: median and 95th percentile of the newest samples kept.
    """

    mean: float
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class StageTime:
    """Cost of one stage per call.

    Attributes:
        count: number of calls.
        wall: wall time, including waiting.
        cpu: CPU time of the calling thread.
    """

    count: int
    wall: Spread
    cpu: Spread


class _Stage:
    """Samples of one stage in seconds; bounded, so a camera can run for weeks."""

    __slots__ = ("count", "cpu", "cpu_total", "wall", "wall_total")

    def __init__(self) -> None:
        self.count = 0
        self.wall_total = self.cpu_total = 0.0
        self.wall: deque[float] = deque(maxlen=KEEP)
        self.cpu: deque[float] = deque(maxlen=KEEP)

    def add(self, wall: float, cpu: float) -> None:
        self.count += 1
        self.wall_total += wall
        self.cpu_total += cpu
        self.wall.append(wall)
        self.cpu.append(cpu)

    def summary(self) -> StageTime:
        return StageTime(
            self.count,
            spread(self.wall, mean=self.wall_total / self.count),
            spread(self.cpu, mean=self.cpu_total / self.count),
        )


class Timings:
    """Thread-safe stopwatch for stages; a call costs about three microseconds."""

    def __init__(self) -> None:
        """Start without samples."""
        self._stages: dict[str, _Stage] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, wall: float, cpu: float) -> None:
        """Record a call of ``stage`` that took ``wall`` and ``cpu`` seconds."""
        with self._lock:
            if stage not in self._stages:
                self._stages[stage] = _Stage()
            self._stages[stage].add(wall, cpu)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Record the body of the ``with`` statement, unless it raises."""
        wall, cpu = perf_counter(), thread_time()
        yield
        self.add(stage, perf_counter() - wall, thread_time() - cpu)

    def summary(self) -> dict[str, StageTime]:
        """Return the times of each stage, in the order of their first calls. Other threads may continue to add."""
        with self._lock:
            return {name: samples.summary() for name, samples in self._stages.items()}


def spread(seconds: Collection[float], *, mean: float | None = None) -> Spread:
    """Summarise samples given in seconds. ``mean``, also in seconds, may come from more samples than these.

    Raises:
        ValueError: there are no samples.
    """
    if not seconds:
        raise ValueError("no samples to summarise; measure at least one call first")
    ordered = sorted(seconds)
    mean = math.fsum(ordered) / len(ordered) if mean is None else mean
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]  # nearest rank: always a measured value
    return Spread(mean * 1000, median(ordered) * 1000, p95 * 1000)
