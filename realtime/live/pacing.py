"""Pacing: files played at their own pace or in a loop, and frames left out above a rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Self

from ...engines.closing import Closing
from ...engines.errors import SourceError
from ..faces.frame import DeviceFrame, Frame
from ..sources import Source, SourceInfo

_BEHIND = 1.0  # seconds of delay after which the schedule starts again: a pause, not a slow machine
_USUAL_RATE = Fraction(25)  # frames per second if a file does not tell


class Pacer:
    """Times at which the frames of a file are due. Times are in seconds of one clock."""

    def __init__(self, rate: Fraction | None) -> None:
        """Expect frames at ``rate`` per second."""
        self._interval = float(1 / (rate or _USUAL_RATE))
        self._begin: float | None = None
        self._last = -self._interval

    def restart(self) -> None:
        """Let the next frame be due at once, as after a pause."""
        self._begin = None

    def expected(self, now: float) -> float:
        """Return when the next frame is likely due, before it has been decoded."""
        return now if self._begin is None else self._begin + self._last + self._interval

    def due(self, time: float, now: float) -> float:
        """Return when the frame with the stream time ``time`` is due."""
        if self._begin is None or now - (self._begin + time) > _BEHIND:
            self._begin = now - time
        self._last = time
        return self._begin + time


class Thinner:
    """Choice of the frames to track so that there are at most ``most`` per second of the stream."""

    def __init__(self, most: float | None) -> None:
        """Keep all frames if ``most`` is None."""
        self._interval = None if most is None else 1 / most
        self._next: float | None = None

    def keeps(self, time: float) -> bool:
        """Return True if the frame with the stream time ``time`` is to be tracked."""
        if self._interval is None:
            return True
        if self._next is None or abs(time - self._next) > 2 * self._interval:
            self._next = time
        if time < self._next - 1e-3:  # frame times are rounded
            return False
        self._next += self._interval
        return True


class LoopedSource(Closing):
    """File that starts again when it has ended; times and numbers go on."""

    def __init__(self, opener: Callable[[], Source]) -> None:
        """Open the file.

        Raises:
            SourceError: it cannot be opened.
        """
        self._opener, self._source = opener, opener()
        self.info: SourceInfo = replace(self._source.info, frames=None, duration=None)
        self._time, self._index = 0.0, 0
        self._next_time, self._next_index = 0.0, 0
        self._interval = float(1 / (self.info.rate or _USUAL_RATE))

    def __iter__(self) -> Self:
        """Return the source itself."""
        return self

    def __next__(self) -> Frame:
        """Read the next frame.

        Raises:
            SourceError: reading failed, or the file has no frames.
        """
        frame = next(self._source, None)
        if frame is None:
            if self._next_index == self._index:
                raise SourceError(f"{self.info.name}: there is no frame to repeat; give another file")
            self._source.close()
            self._source = self._opener()
            self._time, self._index = self._next_time, self._next_index
            frame = next(self._source)
        frame = timed(frame, self._time + frame.time, self._index + frame.index)
        self._next_time, self._next_index = frame.time + self._interval, frame.index + 1
        return frame

    def close(self) -> None:
        """Close the file."""
        self._source.close()


def timed(frame: Frame, time: float, index: int) -> Frame:
    """Return a frame with another time in seconds and another number."""
    if isinstance(frame, DeviceFrame):
        return DeviceFrame(frame.pixels, time, index, frame.source)
    return Frame(frame.image, time, index, frame.source)
