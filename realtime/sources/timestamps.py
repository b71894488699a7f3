"""Conversion of video timestamps to seconds that strictly increase."""

from __future__ import annotations

from fractions import Fraction

# Milliseconds added for a frame with the timestamp of the previous one: a tick of Matroska, the coarsest common clock.
NUDGE = 1
# Milliseconds; a timestamp that goes back further belongs to another clock, for example in concatenated files.
JUMP = 250
_NEVER = -(1 << 63)


class Clock:
    """Converter from timestamps, which may repeat, jump or be missing, to seconds that strictly increase from 0.

    A timestamp that repeats or goes back by up to ``JUMP`` is placed 1 ms after the previous time. One that goes back
    further starts another clock, which continues at the average rate. A missing one also follows at that rate. Gaps
    are kept.
    """

    def __init__(self, step: Fraction, time_base: Fraction) -> None:
        """Start before the first frame.

        Args:
            step: average time between two frames in seconds.
            time_base: seconds per timestamp unit.
        """
        # All times are integers in units of 1 / _unit seconds, which represent timestamps and milliseconds exactly.
        # Fractions would take a tenth of the decoding time.
        self._unit, self._tick = 1000 * time_base.denominator, 1000 * time_base.numerator
        self._millisecond = time_base.denominator
        self._step = round(step * self._unit)
        self._origin: int | None = None
        self._time: int | None = None
        self._last = {"pts": _NEVER, "dts": _NEVER}
        self._faults = {"pts": 0, "dts": 0}

    @property
    def origin(self) -> Fraction | None:
        """Timestamp of time 0 in seconds; None until a frame has a timestamp."""
        return None if self._origin is None else Fraction(self._origin, self._unit)

    def rewind(self) -> None:
        """Accept any timestamp for the next frame, after the reader has seeked."""
        self._time = None
        self._last = dict.fromkeys(self._last, _NEVER)

    def stamp(self, pts: int | None, dts: int | None) -> float:
        """Return the time of the next frame in seconds, from its presentation and decoding timestamps."""
        expected = 0 if self._time is None else self._time + self._step
        value = self._choose(pts, dts)
        self._time = expected if value is None else self._place(value * self._tick, expected)
        return self._time / self._unit

    def _place(self, stamp: int, expected: int) -> int:
        if self._origin is None:
            self._origin = stamp - expected
        time = stamp - self._origin
        if self._time is None or time > self._time:
            return time
        if self._time - time <= JUMP * self._millisecond:
            return self._time + NUDGE * self._millisecond
        self._origin = stamp - expected
        return expected

    def _choose(self, pts: int | None, dts: int | None) -> int | None:
        """Choose a timestamp by FFmpeg's rule: presentation, unless it went back more often than decoding."""
        for name, value in (("pts", pts), ("dts", dts)):
            if value is not None:
                self._faults[name] += value <= self._last[name]
                self._last[name] = value
        trusted = self._faults["pts"] <= self._faults["dts"] or dts is None
        return pts if trusted and pts is not None else dts
