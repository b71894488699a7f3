"""Timestamps of a video, made into seconds that strictly increase."""

from __future__ import annotations

from fractions import Fraction

# Milliseconds by which a frame follows one of the same timestamp: a tick of Matroska, the coarsest clock around.
NUDGE = 1
# A timestamp that goes back further than this, milliseconds, is of another clock: files strung together, say.
JUMP = 250
_NEVER = -(1 << 63)


class Clock:
    """Turns timestamps, which may repeat, jump or be missing, into seconds that strictly increase from 0.

    A time that repeats or goes back a little comes 1 ms after the last; one that goes back further starts
    another clock, which goes on at the average rate; a missing one follows at that rate too. Gaps stay.
    """

    def __init__(self, step: Fraction, time_base: Fraction) -> None:
        """Start before the first frame.

        Args:
            step: average time between two frames in seconds.
            time_base: seconds that a timestamp of 1 stands for.
        """
        # All times are whole numbers of 1 / _unit seconds, in which timestamps and milliseconds are exact:
        # fractions would cost a tenth of what decoding costs.
        self._unit, self._tick = 1000 * time_base.denominator, 1000 * time_base.numerator
        self._millisecond = time_base.denominator
        self._step = round(step * self._unit)
        self._origin: int | None = None
        self._time: int | None = None
        self._last = {"pts": _NEVER, "dts": _NEVER}
        self._faults = {"pts": 0, "dts": 0}

    @property
    def origin(self) -> Fraction | None:
        """Timestamp of time 0 in seconds; None as long as no frame had one."""
        return None if self._origin is None else Fraction(self._origin, self._unit)

    def rewind(self) -> None:
        """The next frame may lie anywhere: the reader has moved."""
        self._time = None
        self._last = dict.fromkeys(self._last, _NEVER)

    def stamp(self, pts: int | None, dts: int | None) -> float:
        """Seconds of the next frame from its presentation and decoding timestamps."""
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
        """FFmpeg's rule: presentation times, unless they went back more often than decoding times."""
        for name, value in (("pts", pts), ("dts", dts)):
            if value is not None:
                self._faults[name] += value <= self._last[name]
                self._last[name] = value
        trusted = self._faults["pts"] <= self._faults["dts"] or dts is None
        return pts if trusted and pts is not None else dts
