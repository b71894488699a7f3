"""Meters of a source: frames per second and latency over a recent span."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from ..status import Latency

RATE_SPAN, LATENCY_SPAN = 5.0, 60.0
"""Seconds over which frames per second and latency are measured."""
_MOST = 8192  # samples kept for a span
_KEPT = 1.0  # seconds for which percentiles are kept, because they take a while and many ask for them


class Meter:
    """Frames per second and latency of one source. Not thread-safe."""

    def __init__(self, begin: float) -> None:
        """Start without samples at time ``begin``, in seconds of the clock that ``add`` uses."""
        self._begin = begin
        self._samples: deque[tuple[float, float]] = deque(maxlen=_MOST)
        self._latency: Latency | None = None
        self._measured = -math.inf

    def add(self, now: float, latency: float) -> None:
        """Add a frame that was tracked at ``now``, ``latency`` seconds after its capture."""
        self._samples.append((now, latency))
        while self._samples[0][0] < now - LATENCY_SPAN:
            self._samples.popleft()

    def rate(self, now: float) -> float:
        """Return the frames per second over the last ``RATE_SPAN``, or since the beginning if that is shorter."""
        span = min(RATE_SPAN, now - self._begin)
        if span <= 0:
            return 0.0
        count = 0
        for at, _ in reversed(self._samples):
            if at < now - span:
                break
            count += 1
        return count / span

    def latency(self, now: float) -> Latency | None:
        """Return the percentiles of the last ``LATENCY_SPAN``, up to a second old; None without frames."""
        if self._latency is None or now - self._measured >= _KEPT:
            samples = [latency for at, latency in self._samples if at >= now - LATENCY_SPAN]
            self._latency, self._measured = percentiles(samples) if samples else None, now
        return self._latency


def percentiles(seconds: Sequence[float]) -> Latency:
    """Return percentiles in milliseconds by nearest rank: each is a measured value.

    Raises:
        ValueError: there are no samples.
    """
    if not seconds:
        raise ValueError("no samples to summarise")
    ordered = sorted(seconds)
    p50, p95, p99 = (1000 * ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95, 0.99))
    return Latency(p50, p95, p99)
