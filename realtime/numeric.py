"""Numbers as a user may give them: of Python or of numpy, but no bool and no duration."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TypeGuard

import numpy as np

_OTHERS = (bool, np.timedelta64)  # Python counts the one among the whole numbers, numpy the other


def is_whole(value: object) -> TypeGuard[int]:
    """Return True for a whole number."""
    return isinstance(value, Integral) and not isinstance(value, _OTHERS)


def finite(value: object) -> float | None:
    """Return a number as a float of Python; None for what is no number, infinite or not a number (NaN)."""
    if not isinstance(value, Real) or isinstance(value, _OTHERS):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of 309 digits or more
        return None
    return number if math.isfinite(number) else None
