"""Times of frames: checks of the values that users give, and rules for times that do not advance."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import numpy as np

from ...engines.errors import NasionError
from .numeric import finite

_log = logging.getLogger(__name__)

SHORTEST = 1e-4
"""Seconds: a time step below this, such as zero or a negative one, counts as unknown."""
LONGEST = 2.0
"""Seconds: time steps above this are unlikely. In milliseconds all steps are, up to 500 frames a second."""
LIMIT = 1e11
"""Seconds, 3,000 years: beyond it lie the milliseconds, microseconds and nanoseconds since 1970."""
REGULAR = 1.0
"""Seconds: time steps from this one on that are all alike are unlikely; the numbers of frames have such steps."""
UNTIMED_RATE = 30
"""Frames per second that are assumed if the time of frames does not advance."""

_EARLY = 1e-3  # seconds by which an interval may end early, because frame times are rounded
_WINDOW, _MANY = 20, 8  # a warning needs so many unlikely time steps among the newest

_ADVICE = (
    "give seconds as a float, such as time.monotonic() of a camera, or the time of the frame in its video "
    "(of PyAV frame.time)"
)


def seconds_of(time: object) -> float:
    """Return the time of a frame as a float.

    Raises:
        NasionError: it is not a number, or cannot be in seconds.
    """
    if type(time) is float and -LIMIT < time < LIMIT:  # nearly always
        return time
    if isinstance(time, np.ndarray) and time.ndim == 0:
        time = time[()]
    seconds = finite(time)
    if seconds is None:
        raise NasionError(f"the time of a frame is {time!r:.60} ({type(time).__name__}); {_instead_of(time)}")
    if abs(seconds) >= LIMIT:
        raise NasionError(
            f"the time of a frame is {seconds:g}, which is over 3,000 years in seconds; {_ADVICE}; "
            "divide milliseconds by 1e3, microseconds by 1e6, nanoseconds by 1e9"
        )
    return seconds


def _instead_of(time: object) -> str:
    if isinstance(time, datetime):
        return "give seconds as a float: for a datetime, its timestamp()"
    if isinstance(time, timedelta):
        return "give seconds as a float: for a timedelta, its total_seconds()"
    if isinstance(time, np.timedelta64):
        return "give seconds as a float: for a timedelta64, it / np.timedelta64(1, 's')"
    if isinstance(time, np.datetime64):
        return "give seconds as a float: for a datetime64, (it - the first one) / np.timedelta64(1, 's')"
    if time is None:
        return f"{_ADVICE}; where that is None, the number of the frame / the frames per second"
    return _ADVICE


def time_passed(since: float, time: float, *, frames: int) -> float:
    """Return the seconds from ``since`` to ``time``, between which ``frames`` frames lie.

    A clock that was set back counts as time passed. One that stands still counts as ``UNTIMED_RATE`` frames a second.
    """
    passed = abs(time - since)
    return passed if passed >= frames * SHORTEST else frames / UNTIMED_RATE


class Interval:
    """Time and number of frames since an event, such as the last run of the detector."""

    __slots__ = ("_frames", "_time")

    def __init__(self) -> None:
        """Wait for the first ``begin``."""
        self._time: float | None = None
        self._frames = 0

    def begin(self, time: float) -> None:
        """Start the interval at ``time``, in seconds."""
        self._time, self._frames = time, 0

    @property
    def never(self) -> bool:
        """True before the first ``begin``."""
        return self._time is None

    def passed(self, time: float, seconds: float) -> bool:
        """Count a frame at ``time`` and return True if ``seconds`` have passed, or before the first ``begin``."""
        self._frames += 1
        return self._time is None or time_passed(self._time, time, frames=self._frames) >= seconds - _EARLY


class StepCheck:
    """Check that logs a warning, once for each kind, if the times of frames do not look like seconds."""

    def __init__(self) -> None:
        """Start before the first frame."""
        self._warned: set[str] = set()
        self.reset()

    def reset(self) -> None:
        """Begin a new video; warnings are not repeated."""
        self._last: float | None = None
        self._step = 0.0
        self._short = self._long = self._regular = 0  # a bit for each of the newest steps, set if the step is unlikely

    def __call__(self, time: float) -> None:
        """Check the time of the next frame."""
        last, self._last = self._last, time
        if last is None:
            return
        step, before = time - last, self._step
        self._step = step
        if SHORTEST <= step < REGULAR and not (self._short or self._long or self._regular):  # nearly always
            return
        window = (1 << _WINDOW) - 1
        self._short = (self._short << 1 | (step < SHORTEST)) & window
        self._long = (self._long << 1 | (step > LONGEST)) & window
        regular = REGULAR <= step <= LONGEST and (step == before or step.is_integer())
        self._regular = (self._regular << 1 | regular) & window
        if self._short.bit_count() >= _MANY and "short" not in self._warned:
            self._warned.add("short")
            _log.warning(_stands_still(last, time))
        if self._long.bit_count() >= _MANY and "long" not in self._warned:
            self._warned.add("long")
            _log.warning(_leaps(step))
        if self._regular.bit_count() >= _MANY and "regular" not in self._warned:
            self._warned.add("regular")
            _log.warning(_counts(step))


def _stands_still(last: float, time: float) -> str:
    return (
        f"the time of frames does not advance as seconds do: first {last!r}, then {time!r}; {_MANY} of the last "
        f"{_WINDOW} time steps are below {SHORTEST * 1000:g} ms. Landmarks are not smoothed while the time step is "
        f"unknown; {_ADVICE}, in increasing order. "
        "Whole seconds are too coarse, and so is float32 for time.time(): it repeats for 128 s"
    )


def _leaps(step: float) -> str:
    unit, divisor = "milliseconds", "1e3"
    if step >= 1e3:
        unit, divisor = ("microseconds", "1e6") if step < 1e6 else ("nanoseconds", "1e9")
    return (
        f"the time of frames advances by {step:g}, which counts as seconds; so landmarks are not smoothed, and keep "
        f"is in the same unit. If these are {unit}, divide them by {divisor}; if these are the numbers of frames, "
        f"divide them by the frame rate; {_ADVICE}"
    )


def _counts(step: float) -> str:
    return (
        f"the time of frames advances by {step:g} s each; so landmarks are not smoothed. If these are the numbers of "
        f"frames, divide them by the frame rate; {_ADVICE}"
    )
