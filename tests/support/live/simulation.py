"""Simulated time: a clock whose waits take none, and sources that follow a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from nasion.engines.errors import SourceError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sources.base import SourceInfo

IMAGE = np.zeros((36, 64, 3), np.uint8)


class SimulatedClock:
    """Clock that advances only by waiting. At each wait, what was planned for the time that passes happens."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._plans: list[tuple[float, Callable[[], object]]] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1.7e9 + self.now

    def at(self, time: float, action: Callable[[], object]) -> None:
        """Plan an action, in seconds from the beginning."""
        self._plans.append((1000.0 + time, action))
        self._plans.sort(key=lambda plan: plan[0])

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self._plans and self._plans[0][0] <= until:
            time, action = self._plans.pop(0)
            self.now = max(self.now, time)
            action()
        self.now = max(self.now, until)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        until = self.now + max(seconds, 0.0)
        while not event.is_set():
            planned = min((time for time, _ in self._plans), default=until)
            if planned > until:
                self.now = until
                return False
            self.advance(max(planned - self.now, 0.0))
            if self.now >= until:
                break
        return event.is_set()


class ScriptedSource:
    """Source that yields ``frames`` frames ``every`` seconds, then ends or breaks."""

    def __init__(
        self, clock: SimulatedClock, frames: int, *, live: bool = True, error: str = "", every: float = 1 / 30
    ) -> None:
        self.info = SourceInfo("scripted", 64, 36, Fraction(round(1 / every)), live=live)
        self._clock, self._error, self.is_closed = clock, error, False
        self._frames: Iterator[int] = iter(range(frames))
        self._every = every

    def __iter__(self) -> ScriptedSource:
        return self

    def __next__(self) -> Frame:
        index = next(self._frames, None)
        if index is None:
            if self._error:
                raise SourceError(self._error)
            raise StopIteration
        if self.info.live:
            self._clock.advance(self._every)
        return Frame(IMAGE, index * self._every, index)

    def close(self) -> None:
        self.is_closed = True

    def __enter__(self) -> ScriptedSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
