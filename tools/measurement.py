"""Measurements of ``nasion bench``: a clip in memory, timed runtimes, cost of each frame."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ..engines.closing import Closing
from ..engines.errors import NasionError, SourceError
from ..engines.runtime import most_on_gpu
from ..realtime.threads.timing import StageTime, Timings
from .terminal.progress import Progress

if TYPE_CHECKING:
    from ..engines.gpu.graphs import Fill, Shape
    from ..engines.runtime import GpuRuntime, Runtime
    from ..engines.spec import Outputs
    from ..realtime.faces.frame import Frame
    from ..realtime.tracking.options import TrackerOptions
    from ..realtime.tracking.tracker import Tracker

MOST_FRAMES = 1500
MOST_BYTES = 2_000_000_000  # of decoded frames: 321 at 1080p
WARM_UP = 60  # frames, which include several detections


@dataclass(frozen=True, slots=True)
class Clip:
    """Decoded frames of a clip in memory.

    Attributes:
        source: file, folder or pattern that was decoded, as ``open_source`` takes it.
        frames: decoded frames, from the first.
        whole: True if these are all frames of the source.
        decode: device that decoded it, as ``open_source`` takes it.
    """

    source: str
    frames: list[Frame]
    whole: bool
    decode: str = "cpu"

    @property
    def bytes(self) -> int:
        """Size of the images in bytes."""
        return sum(frame.pixels.nbytes for frame in self.frames)

    @property
    def device(self) -> str:
        """Device that holds the images: ``cpu`` or ``cuda:N``."""
        return self.frames[0].device

    def __str__(self) -> str:
        """Return a description of the clip for users."""
        first, part = self.frames[0], "" if self.whole else ", the beginning of the clip only (--frames sets how many)"
        size = f"{first.width}x{first.height}"
        memory = "" if self.device == "cpu" else f" on {self.device}"
        return f"{len(self.frames)} frames of {size} decoded into {self.bytes / 1e6:.0f} MB{memory}{part}"


def load(source: str | Path, most: int | None = None, *, decode: str = "cpu") -> Clip:
    """Decode the first frames of a clip into memory.

    Args:
        source: as ``open_source`` takes it.
        most: number of frames; None for at most ``MOST_FRAMES`` frames and ``MOST_BYTES`` bytes.
        decode: device that decodes, as ``open_source`` takes it.

    Raises:
        NasionError: the source cannot be read, or is live.
    """
    from ..realtime.sources import open_source

    with open_source(source, decode=decode) as opened:
        info = opened.info
        if info.live:
            raise SourceError(f"{source} is live, and a benchmark needs the same frames twice; give a file or pattern:")
        room = max(min(MOST_FRAMES, MOST_BYTES // (info.width * info.height * 3)), 1)
        frames = list(islice(opened, most or room))
        return Clip(str(source), frames, next(opened, None) is None, decode)


@contextmanager
def readable_twice(source: str) -> Iterator[str]:
    """Yield a source that can be opened twice: a copy of standard input, in a folder that is removed afterwards.

    Raises:
        NasionError: standard input is a terminal, or is empty.
    """
    from ..realtime.sources.standard_input import STANDARD_INPUT

    if source not in STANDARD_INPUT:
        yield source
        return
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise SourceError("no video comes from standard input; pipe one into it: cat clip.mp4 | nasion bench -")
    with TemporaryDirectory(prefix="nasion-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "standard-input"
        with copy.open("wb") as file:
            copyfileobj(sys.stdin.buffer, file)
        yield str(copy)


class Watched(Closing):
    """Runtime that sums up the time of its calls; implements ``engines.runtime.GpuRuntime``.

    Attributes:
        calls: number of calls.
        wall: wall time of the calls in seconds.
        cpu: CPU time of the process during the calls in seconds, over all its threads.
    """

    def __init__(self, runtime: Runtime) -> None:
        """Wrap ``runtime``; all calls are passed on to it."""
        self._runtime = runtime
        self.spec, self.provider, self.threads = runtime.spec, runtime.provider, runtime.threads
        self.device, self.reason = runtime.device, runtime.reason
        self.precision: str | None = getattr(runtime, "precision", None)
        self.most_on_gpu = most_on_gpu(runtime)
        self.calls, self.wall, self.cpu = 0, 0.0, 0.0

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run the network on images and time the call."""
        return self._timed(lambda: self._runtime(images))

    def run(self, shape: Shape, fill: Fill) -> Outputs:
        """Run the network on images made on the GPU; the time includes making them."""
        return self._timed(lambda: cast("GpuRuntime", self._runtime).run(shape, fill))

    def _timed(self, call: Callable[[], Outputs]) -> Outputs:
        wall, cpu = perf_counter(), process_time()
        outputs = call()
        self.wall += perf_counter() - wall
        self.cpu += process_time() - cpu
        self.calls += 1
        return outputs

    def describe(self, frames: int) -> dict[str, Any]:
        """Return network, runtime, precision of a plan, calls per frame, time per call and mean busy cores."""
        return {
            "model": self.spec.name,
            "provider": self.provider,
            "precision": self.precision,
            "device": self.device,
            "reason": self.reason,
            "threads": self.threads,
            "calls_per_frame": round(self.calls / frames, 4),
            "ms_per_call": round(1000 * self.wall / max(self.calls, 1), 4),
            "cores_busy": round(self.cpu / self.wall, 2) if self.wall else 0.0,
        }

    def forget(self) -> None:
        """Reset the counters."""
        self.calls, self.wall, self.cpu = 0, 0.0, 0.0

    def close(self) -> None:
        """Close the runtime."""
        self._runtime.close()


@dataclass(frozen=True, slots=True)
class Measurement:
    """All results for one number of threads.

    Attributes:
        threads: threads that each network and OpenCV may use.
        networks: result of ``Watched.describe`` for each network.
        options: options of the tracker.
        costs: wall time and CPU time of the process per frame: ``detect``, ``align`` and ``track`` (the rest); the
            share of the networks in these; the pipeline, which is everything except the networks; and end to end.
        fps: frames per second of the tracker alone, on decoded frames.
        threaded: results of the threaded pipeline, decoding included: ``fps``, and ``cpu`` in ms per frame.
        found: share of frames with at least one face.
    """

    threads: int
    networks: dict[str, dict[str, Any]]
    options: dict[str, Any]
    costs: dict[str, StageTime]
    fps: float
    threaded: dict[str, float]
    found: float


def measure(clip: Clip, options: TrackerOptions, *, repeat: int) -> Measurement:
    """Track the whole clip ``repeat`` times after a warm-up, and return the results."""
    import cv2

    from ..realtime.tracking.tracker import Tracker

    cv2.setNumThreads(options.threads)
    with ExitStack() as stack, Progress("measuring", repeat, "passes") as progress:
        loaded = stack.enter_context(Tracker(options))
        watched = {name: Watched(runtime) for name, runtime in loaded.runtimes.items()}
        first, *_, last = [*watched.values()] * 2  # one network may serve as both
        tracker = Tracker.from_networks(first, last, options)
        costs, found = _costs(clip, tracker, list(watched.values()), repeat, progress)
        networks = {name: network.describe(repeat * len(clip.frames)) for name, network in watched.items()}
    return Measurement(
        threads=options.threads,
        networks=networks,
        options=asdict(options),
        costs=costs,
        fps=1000 / costs["end to end"].wall.mean,
        threaded=_threaded(clip, options, repeat=repeat),
        found=found,
    )


def _costs(
    clip: Clip, tracker: Tracker, networks: Collection[Watched], repeat: int, progress: Progress
) -> tuple[dict[str, StageTime], float]:
    """Return the cost of each stage per frame, and the share of frames with a face."""
    for frame in clip.frames[:WARM_UP]:
        tracker.update(frame)
    for network in networks:
        network.forget()
    timings, found = Timings(), 0
    for _ in range(repeat):
        tracker.reset()
        found += sum(_track(tracker, frame, networks, timings) for frame in clip.frames)
        progress.advance()
    return timings.summary(), found / (repeat * len(clip.frames))


def _track(tracker: Tracker, frame: Frame, networks: Collection[Watched], timings: Timings) -> bool:
    """Track one frame and record its times; return True if it shows a face."""
    # In real use a decoder has just written the frame. The copy has the same effect here.
    frame = frame.copy()
    spent: list[NDArray[np.float64]] = []

    def record(stage: str, wall: float, cpu: float) -> None:
        spent.append(np.array([wall, cpu]))
        timings.add(stage, wall, cpu)

    before = _within(networks)
    faces = tracker.networks.run(tracker.steps(frame), record, cpu_clock=process_time)
    whole, within = np.sum(spent, axis=0), _within(networks) - before
    timings.add("networks", *within)
    timings.add("pipeline", *(whole - within))
    timings.add("end to end", *whole)
    return bool(faces)


def _within(networks: Collection[Watched]) -> NDArray[np.float64]:
    """Return the wall time and CPU time spent in the networks so far, in seconds."""
    return np.array([sum(network.wall for network in networks), sum(network.cpu for network in networks)])


def _threaded(clip: Clip, options: TrackerOptions, *, repeat: int) -> dict[str, float]:
    """Return the results of the threaded pipeline on the file of the clip: medians of ``repeat`` runs."""
    runs = []
    with Progress("measuring with decoding", repeat, "passes") as progress:
        for _ in range(repeat):
            runs.append(_threaded_once(clip, options))
            progress.advance()
    wall = statistics.median(seconds for seconds, _ in runs)
    cpu = statistics.median(seconds for _, seconds in runs)
    return {"fps": len(clip.frames) / wall, "cpu": 1000 * cpu / len(clip.frames)}


def _threaded_once(clip: Clip, options: TrackerOptions) -> tuple[float, float]:
    from ..realtime.pipeline import Pipeline
    from ..realtime.sources import open_source
    from ..realtime.tracking.tracker import Tracker

    with ExitStack() as opened:
        tracker = opened.enter_context(Tracker(options))
        if any(network.device != "cpu" for network in tracker.runtimes.values()):
            for frame in clip.frames[:WARM_UP]:  # excludes work that a GPU does at its first calls only
                tracker.update(frame)
            tracker.reset()
        pipeline = opened.enter_context(Pipeline(open_source(clip.source, decode=clip.decode), tracker))
        begin, cpu = perf_counter(), process_time()
        tracked = sum(1 for _ in islice(pipeline, len(clip.frames)))
        seconds, spent = perf_counter() - begin, process_time() - cpu
    if tracked != len(clip.frames):
        raise NasionError(f"{clip.source} has {tracked} frames now and had {len(clip.frames)} before; has it changed?")
    return seconds, spent
