"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], object], what: Callable[[], object] = lambda: "", *, patience: float, every: float = 0.02
) -> None:
    """Wait until ``condition`` holds, and fail with ``what`` after ``patience`` seconds."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(every)
