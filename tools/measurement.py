"""The clockwork of ``nasion bench``: a clip in memory, watched runtimes, and the cost of every frame."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ..engines.closing import Closing
from ..engines.errors import NasionError, SourceError
from ..engines.runtime import most_on_gpu
from ..realtime.timing import StageTime, Timings
from ..realtime.tracking.requests import Detect
from .options import Tracking

if TYPE_CHECKING:
    from ..engines.gpu.graphs import Fill, Shape
    from ..engines.runtime import GpuRuntime, Runtime
    from ..engines.spec import Outputs
    from ..realtime.faces import Frame
    from ..realtime.tracking.tracker import Tracker

MOST_FRAMES = 1500
MOST_BYTES = 2_000_000_000  # of decoded frames: 321 at 1080p
WARM_UP = 60  # frames: several looks of the detector


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of a clip in memory.

    Attributes:
        source: file, folder or pattern that it came from, as ``open_source`` takes it.
        frames: decoded frames, from the first.
        whole: whether these are all.
        decode: where it was decoded, as ``open_source`` takes it.
    """

    source: str
    frames: list[Frame]
    whole: bool
    decode: str = "cpu"

    @property
    def bytes(self) -> int:
        """Memory of the pictures."""
        return sum(frame.pixels.nbytes for frame in self.frames)

    @property
    def device(self) -> str:
        """Where the pictures lie: ``cpu`` or ``cuda:N``."""
        return self.frames[0].device

    def __str__(self) -> str:
        """For a person."""
        first, part = self.frames[0], "" if self.whole else ", its beginning only (--frames chooses)"
        size = f"{first.width}x{first.height}"
        memory = "" if self.device == "cpu" else f" on {self.device}"
        return f"{len(self.frames)} frames of {size} decoded into {self.bytes / 1e6:.0f} MB{memory}{part}"


def load(source: str | Path, most: int | None = None, *, decode: str = "cpu") -> Clip:
    """Decode the first ``most`` frames of a clip, where ``open_source`` is told to; None for what memory allows.

    Raises:
        NasionError: it cannot be read, or is live.
    """
    from ..realtime.sources import open_source

    with open_source(source, decode=decode) as opened:
        info = opened.info
        if info.live:
            raise SourceError(f"{source} is live, and a bench takes the same frames twice; give a file or pattern:")
        room = max(min(MOST_FRAMES, MOST_BYTES // (info.width * info.height * 3)), 1)
        frames = list(islice(opened, most or room))
        return Clip(str(source), frames, next(opened, None) is None, decode)


class Watched(Closing):
    """A runtime that adds up the time of its calls; implements ``engines.runtime.GpuRuntime``.

    Attributes:
        calls: number of calls.
        wall: seconds that passed in them.
        cpu: seconds of CPU time that the process spent meanwhile, in all its threads.
    """

    def __init__(self, runtime: Runtime) -> None:
        """Pass everything on to ``runtime``."""
        self._runtime = runtime
        self.spec, self.provider, self.threads = runtime.spec, runtime.provider, runtime.threads
        self.device, self.reason = runtime.device, runtime.reason
        self.most_on_gpu = most_on_gpu(runtime)
        self.calls, self.wall, self.cpu = 0, 0.0, 0.0

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run images, and take the time."""
        return self._timed(lambda: self._runtime(images))

    def run(self, shape: Shape, fill: Fill) -> Outputs:
        """Run images that are made on the GPU, and take the time, that of making them included."""
        return self._timed(lambda: cast("GpuRuntime", self._runtime).run(shape, fill))

    def _timed(self, call: Callable[[], Outputs]) -> Outputs:
        wall, cpu = perf_counter(), process_time()
        outputs = call()
        self.wall += perf_counter() - wall
        self.cpu += process_time() - cpu
        self.calls += 1
        return outputs

    def describe(self, frames: int) -> dict[str, Any]:
        """What ran, how often in ``frames`` frames, and how many cores it kept busy on average."""
        return {
            "model": self.spec.name,
            "provider": self.provider,
            "device": self.device,
            "reason": self.reason,
            "threads": self.threads,
            "calls_per_frame": round(self.calls / frames, 4),
            "ms_per_call": round(1000 * self.wall / max(self.calls, 1), 4),
            "cores_busy": round(self.cpu / self.wall, 2) if self.wall else 0.0,
        }

    def forget(self) -> None:
        """Start counting afresh."""
        self.calls, self.wall, self.cpu = 0, 0.0, 0.0

    def close(self) -> None:
        """Close the runtime."""
        self._runtime.close()


@dataclass(frozen=True, slots=True)
class Measurement:
    """All figures of one setting.

    Attributes:
        threads: threads that each network and OpenCV may use.
        networks: what ``Watched.describe`` says of each.
        options: of the tracker.
        costs: wall and process CPU time of a frame: detect, align, track (the rest); the networks within them; the
            pipeline, which is all but the networks; end to end.
        fps: frames per second of the tracker alone, on decoded frames.
        threaded: the same clip through the threads, decoding included: ``fps`` and ``cpu`` in ms a frame.
        found: share of frames with a face.
    """

    threads: int
    networks: dict[str, dict[str, Any]]
    options: dict[str, Any]
    costs: dict[str, StageTime]
    fps: float
    threaded: dict[str, float]
    found: float


def measure(clip: Clip, tracking: Tracking, *, threads: int, repeat: int) -> Measurement:
    """Track the clip ``repeat`` times from its beginning, after a warm-up."""
    import cv2

    from ..realtime.tracking.tracker import Tracker

    cv2.setNumThreads(threads)
    with ExitStack() as stack:
        loaded = stack.enter_context(tracking.tracker(threads=threads))
        watched = {name: Watched(runtime) for name, runtime in loaded.runtimes.items()}
        first, *_, last = [*watched.values()] * 2  # one network may be both
        tracker = Tracker.from_networks(first, last, loaded.options)
        costs, found = _costs(clip, tracker, list(watched.values()), repeat)
        networks = {name: network.describe(repeat * len(clip.frames)) for name, network in watched.items()}
    return Measurement(
        threads=threads,
        networks=networks,
        options=asdict(loaded.options),
        costs=costs,
        fps=1000 / costs["end to end"].wall.mean,
        threaded=_threaded(clip, tracking, threads=threads, repeat=repeat),
        found=found,
    )


def _costs(
    clip: Clip, tracker: Tracker, networks: Collection[Watched], repeat: int
) -> tuple[dict[str, StageTime], float]:
    """What every frame costs, and the share of frames with a face."""
    for frame in clip.frames[:WARM_UP]:
        tracker.update(frame)
    for network in networks:
        network.forget()
    timings, found = Timings(), 0
    for _ in range(repeat):
        tracker.reset()
        found += sum(_track(tracker, frame, networks, timings) for frame in clip.frames)
    return timings.summary(), found / (repeat * len(clip.frames))


def _track(tracker: Tracker, frame: Frame, networks: Collection[Watched], timings: Timings) -> bool:
    """Track one frame and record its times; whether it shows a face."""
    # A frame reaches the tracker just written by a decoder, not from a corner of memory where it has lain for minutes.
    frame = frame.copy()
    within = _within(networks)
    begin = _now()
    spent = {"detect": np.zeros(2), "align": np.zeros(2)}
    steps, answer = tracker.steps(frame), None
    try:
        while True:
            request = steps.send(answer) if answer is not None else next(steps)
            asked = _now()
            (answer,) = tracker.networks.answer([request])
            spent["detect" if isinstance(request, Detect) else "align"] += np.subtract(_now(), asked)
    except StopIteration as stop:
        faces = stop.value
    whole, within = np.subtract(_now(), begin), _within(networks) - within
    spent["track"] = whole - sum(spent.values())
    for stage, each in spent.items():
        timings.add(stage, *each)
    timings.add("networks", *within)
    timings.add("pipeline", *(whole - within))
    timings.add("end to end", *whole)
    return bool(faces)


def _now() -> tuple[float, float]:
    """Wall and CPU clock of the process."""
    return perf_counter(), process_time()


def _within(networks: Collection[Watched]) -> NDArray[np.float64]:
    """Wall and CPU time spent in the networks so far."""
    return np.array([sum(network.wall for network in networks), sum(network.cpu for network in networks)])


def _threaded(clip: Clip, tracking: Tracking, *, threads: int, repeat: int) -> dict[str, float]:
    """The clip from its file through the threads; the median of ``repeat`` runs."""
    runs = [_threaded_once(clip, tracking, threads) for _ in range(repeat)]
    wall = statistics.median(seconds for seconds, _ in runs)
    cpu = statistics.median(seconds for _, seconds in runs)
    return {"fps": len(clip.frames) / wall, "cpu": 1000 * cpu / len(clip.frames)}


def _threaded_once(clip: Clip, tracking: Tracking, threads: int) -> tuple[float, float]:
    from ..realtime.pipeline import Pipeline
    from ..realtime.sources import open_source

    with ExitStack() as opened:
        tracker = opened.enter_context(tracking.tracker(threads=threads))
        if any(network.device != "cpu" for network in tracker.runtimes.values()):
            for frame in clip.frames[:WARM_UP]:  # what a GPU does at its first calls only does not count
                tracker.update(frame)
            tracker.reset()
        pipeline = opened.enter_context(Pipeline(open_source(clip.source, decode=clip.decode), tracker))
        begin, cpu = perf_counter(), process_time()
        tracked = sum(1 for _ in islice(pipeline, len(clip.frames)))
        seconds, spent = perf_counter() - begin, process_time() - cpu
    if tracked != len(clip.frames):
        raise NasionError(f"{clip.source} gave {tracked} frames, and {len(clip.frames)} before; has it changed?")
    return seconds, spent
