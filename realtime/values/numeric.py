"""Checks of numbers from Python or numpy, excluding bools and durations."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TypeGuard

import numpy as np

_OTHERS = (bool, np.timedelta64)  # bool is an integer to Python, timedelta64 to numpy


def is_whole(value: object) -> TypeGuard[int]:
    """Return True if ``value`` is an integer, but not a bool or a duration."""
    return isinstance(value, Integral) and not isinstance(value, _OTHERS)


def finite(value: object) -> float | None:
    """Convert a number to a Python float; None if it is not a number, infinite or NaN."""
    if not isinstance(value, Real) or isinstance(value, _OTHERS):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of 309 digits or more
        return None
    return number if math.isfinite(number) else None
