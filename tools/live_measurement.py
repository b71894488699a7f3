"""Measurements of ``nasion bench --streams``: many streams of one clip at a fixed rate, tracked together."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..engines.closing import Closing
from ..engines.errors import NasionError
from .gpu_meter import GpuMeter
from .terminal.progress import Progress

if TYPE_CHECKING:
    from ..realtime.faces.frame import Frame
    from ..realtime.live.hub import Hub
    from ..realtime.live.subscriptions import Subscription
    from ..realtime.sources import Source
    from ..realtime.tracking.options import TrackerOptions

SWITCH_INTERVAL = 0.001
"""Seconds after which a thread of Python lets another run, also in ``nasion live``; the tracker waits for many."""
WARM_UP = 3.0  # seconds, in which each stream has found its faces


@dataclass(frozen=True, slots=True)
class StreamsRow:
    """Figures of one number of streams.

    Attributes:
        streams: number of streams.
        fps: frames per second of each stream.
        seconds: duration of the measurement, after the warm-up.
        fps_per_stream: frames tracked per second of the slowest stream.
        latency_ms: percentiles ``p50``, ``p95`` and ``p99`` of the time from the moment at which a frame was due to its
            landmarks, decoding included.
        dropped: frames that newer ones replaced before they were tracked.
        faces_per_frame: mean number of faces.
        cpu_per_stream: CPU cores in use, divided by the number of streams.
        memory_per_stream_mb: memory that the streams added, in MB, divided by their number.
        aligner_calls_per_s, detector_calls_per_s: calls of the networks.
        mean_batch: mean number of crops in an aligner call.
        batches: number of aligner calls by their number of crops.
        load: load of the machine over the last minute, before the measurement.
        gpu: driver, clocks and utilisation of the GPU; None without one.
    """

    streams: int
    fps: float
    seconds: float
    fps_per_stream: float
    latency_ms: dict[str, float]
    dropped: int
    faces_per_frame: float
    cpu_per_stream: float
    memory_per_stream_mb: float
    aligner_calls_per_s: float
    detector_calls_per_s: float
    mean_batch: float
    batches: dict[int, int]
    load: float | None
    gpu: dict[str, Any] | None


def measure_streams(
    source: str, counts: Sequence[int], options: TrackerOptions, *, fps: float, seconds: float, decode: str
) -> Iterator[StreamsRow]:
    """Track each number of streams of ``source`` for some seconds, and yield their figures.

    The streams begin evenly spread over the time between two frames, as cameras that know nothing of each other do.

    Raises:
        NasionError: the source cannot be opened or is live.
    """
    with _open(source, decode) as probe:
        if probe.info.live:
            raise NasionError(f"{probe.info.name} is live; give a file or pattern:, whose frames can be repeated")
    for count in counts:
        yield _measure(source, count, options, fps=fps, seconds=seconds, decode=decode)


def _open(source: str, decode: str) -> Source:
    from ..realtime.sources import open_source

    return open_source(source, decode=decode, light=True)


def _measure(
    source: str, count: int, options: TrackerOptions, *, fps: float, seconds: float, decode: str
) -> StreamsRow:
    from ..realtime.live.hub import Hub
    from ..realtime.live.specs import SourceSpec

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with Hub(options, decode=decode) as hub:
        empty = _memory()
        opener = partial(_Steady, partial(_open, source, decode), fps)
        results = hub.subscribe(capacity=64)
        begin = time.monotonic() + 0.2
        for number in range(count):
            time.sleep(max(begin + number / count / fps - time.monotonic(), 0.0))
            hub.add(SourceSpec(source, f"stream-{number + 1}", loop=True), opener=opener)
        with Progress(f"{count} stream{'s' if count > 1 else ''}", None, "frames") as progress:
            _collect(results, WARM_UP, progress)
            return _window(hub, results, progress, count, fps, seconds, empty, load)


def _window(
    hub: Hub,
    results: Subscription,
    progress: Progress,
    count: int,
    fps: float,
    seconds: float,
    empty: int,
    load: float | None,
) -> StreamsRow:
    from ..realtime.live.rounds.meters import percentiles

    with GpuMeter() as meter:
        before, batches, cpu, begin = hub.status(), Counter(hub.batches), time.process_time(), time.monotonic()
        latencies, faces = _collect(results, seconds, progress)
        spent, cpu = time.monotonic() - begin, time.process_time() - cpu
        after, batches = hub.status(), Counter(hub.batches) - batches
    ended = [each for each in after.sources if each.state != "live"]
    if ended or not latencies:
        why = ended[0].reason if ended else "no frame was tracked"
        raise NasionError(f"{count} streams cannot be measured: {why}")
    frames = [late.frames - early.frames for early, late in zip(before.sources, after.sources, strict=True)]
    latency = percentiles(latencies)
    aligned, calls = after.aligned - before.aligned, after.aligner_calls - before.aligner_calls
    return StreamsRow(
        streams=count,
        fps=fps,
        seconds=round(spent, 2),
        fps_per_stream=round(min(frames) / spent, 2),
        latency_ms={name: round(getattr(latency, name), 2) for name in ("p50", "p95", "p99")},
        dropped=after.dropped - before.dropped,
        faces_per_frame=round(faces / len(latencies), 3),
        cpu_per_stream=round(cpu / spent / count, 4),
        memory_per_stream_mb=round((_memory() - empty) / 1e6 / count, 1),
        aligner_calls_per_s=round(calls / spent, 1),
        detector_calls_per_s=round((after.detector_calls - before.detector_calls) / spent, 1),
        mean_batch=round(aligned / max(calls, 1), 2),
        batches=dict(sorted(batches.items())),
        load=None if load is None else round(load, 2),
        gpu=meter.figures(),
    )


def _collect(results: Subscription, seconds: float, progress: Progress) -> tuple[list[float], int]:
    """Take results for some seconds, and return their latencies and the number of faces in them."""
    latencies, faces, until = [], 0, time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        with suppress(TimeoutError):
            result = results.get(left)
            latencies.append(result.latency)
            faces += len(result.faces)
            progress.advance()
    return latencies, faces


class _Steady(Closing):
    """Source whose frames follow at a fixed rate, whatever their own times are."""

    def __init__(self, opener: partial[Source], fps: float) -> None:
        self._source = opener()
        rate = Fraction(fps).limit_denominator(1001)
        self.info = replace(self._source.info, rate=rate, live=False)
        self._interval = float(1 / rate)
        self._index = 0

    def __iter__(self) -> Self:
        """Return the source itself."""
        return self

    def __next__(self) -> Frame:
        """Read the next frame."""
        from ..realtime.live.pacing import timed

        frame = next(self._source)
        self._index += 1
        return timed(frame, (self._index - 1) * self._interval, self._index - 1)

    def close(self) -> None:
        """Close the file."""
        self._source.close()


def _memory() -> int:
    """Return the resident memory of this process in bytes; 0 where the system does not tell."""
    status = Path("/proc/self/statm")
    if sys.platform != "linux" or not status.exists():
        return 0
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
