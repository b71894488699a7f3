"""Memory of a process that runs for months."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Return memory that is free to the system, where the C library is glibc.

    Threads and decoders that come and go leave free memory between what is in use, which glibc keeps for good.
    """
    _trim()(0)


@cache
def _trim() -> Callable[[int], object]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return lambda _: None
