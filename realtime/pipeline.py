"""``nasion.track``: a tracker over threads, so that one frame is decoded while another is tracked."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, Protocol, Self, TypeVar

from ..engines.closing import Closing
from ..engines.errors import NasionError
from .channels import Channel
from .faces import Face, Frame
from .sources import Source, SourceInfo, open_source
from .timing import Timings
from .tracking.options import RENAMED
from .tracking.tracker import Tracker, TrackerOptions

T = TypeVar("T")
Tracked = tuple[Frame, list[Face]]

# Frames waiting between two stages of a file. More wake the threads less often, and cost memory: 6 MB each at
# 1080p.
_FILE_CAPACITY = 4


def track(
    source: str | int | Path,
    *,
    start: float | None = None,
    end: float | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    timeout: float = 10.0,
    decode: str = "auto",
    **options: Any,
) -> Pipeline:
    """Follow the faces of a video: ``for frame, faces in nasion.track("film.mp4")``.

    Of a file, every frame arrives. Of a camera or stream the newest arrives: frames that come faster than
    they are taken are dropped and counted in ``dropped``. Leaving the loop stops every thread.

    Args:
        source: a video file, an image, a folder of images, a camera's number, a URL or ``pattern:``.
        start: seconds at which to begin; files only.
        end: seconds at which to stop; files only.
        size: (width, height) asked of a camera or pattern.
        fps: frames per second asked of a camera or pattern.
        timeout: seconds to wait for a camera or stream to answer.
        decode: where a video file or stream is decoded: ``cpu``; ``cuda`` or ``cuda:N`` for an NVIDIA GPU, an error
            where that cannot be; ``auto`` for the GPU where TensorRT runs the networks there. Pictures decoded on a GPU
            stay there: ``frame.image`` fetches one on demand.
        **options: the fields of ``TrackerOptions``, for example ``detect_interval=0.5``.

    Raises:
        NasionError: an option is unknown or wrong, or the source or model cannot be opened; at once, not at
        the
            first frame. An error while reading is raised by the loop, after the last good frame.
    """
    chosen = tracker_options(options)
    decode = chosen.where_to_decode(decode)
    opened = open_source(source, start=start, end=end, size=size, fps=fps, timeout=timeout, decode=decode)
    try:
        return Pipeline(opened, Tracker(chosen))
    except BaseException:
        opened.close()
        raise


def tracker_options(options: dict[str, Any]) -> TrackerOptions:
    """The options as a dataclass.

    Raises:
        NasionError: one of them does not exist.
    """
    allowed = [field.name for field in fields(TrackerOptions)]
    unknown = [name for name in options if name not in allowed]
    if "detect_every" in unknown:
        raise NasionError(RENAMED)
    if unknown:
        near = get_close_matches(unknown[0], [*_SOURCE_OPTIONS, *allowed], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise NasionError(
            f"option {unknown[0]!r} is unknown; {hint}"
            f"allowed for the source: {', '.join(_SOURCE_OPTIONS)}; for the tracker: {', '.join(allowed)}"
        )
    return TrackerOptions(**options)


_SOURCE_OPTIONS = ("start", "end", "size", "fps", "timeout", "decode")


class FrameTracker(Protocol):
    """The pipeline's view of a tracker, which is called in one thread with the frames in order."""

    timings: Timings | None
    checks_times: bool

    def update(self, frame: Frame) -> list[Face]:
        """Return the faces of the next frame."""
        ...

    def close(self) -> None:
        """Free the networks."""
        ...


class Pipeline(Closing):
    """A thread that captures and one that tracks, over one source; iterate over it to get the results.

    The results are those of ``Tracker.update`` for the same frames. A file waits: every frame comes out. Of a live
    source one frame is in work and one waits, replaced by any newer one; the next is begun when the last result has
    been taken, so that no queue of old images builds up.

    More threads gain nothing: docs/benchmarks.md has the measurement.

    The threads start with the first frame asked for. They end with the last frame, with an error, with
    ``close``, and when nobody holds the pipeline any more.
    """

    def __init__(self, source: Source, tracker: FrameTracker) -> None:
        """Take over an open source and a tracker; both are closed with the pipeline."""
        live = source.info.live
        self._source, self._tracker = source, tracker
        self._timings = tracker.timings = Timings()
        tracker.checks_times = False
        self._frames: Channel[Frame]
        self._frames = Channel(1, when_full="drop_oldest") if live else Channel(_FILE_CAPACITY)
        self._tracked: Channel[Tracked] = Channel(_FILE_CAPACITY)
        self._tickets: Channel[None] | None = Channel(1) if live else None
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()  # close() may come while another thread asks for the first frame
        # The threads know the channels but never the pipeline: else it would live as long as they do.
        self._stop = weakref.finalize(self, _shut_down, self._channels(), self._threads, source, tracker)

    @property
    def info(self) -> SourceInfo:
        """What the source says of itself."""
        return self._source.info

    @property
    def tracker(self) -> FrameTracker:
        """The tracker at work; do not call it while frames come."""
        return self._tracker

    @property
    def timings(self) -> Timings:
        """Time per frame: decode (of a live source with the wait for a frame), detect, align, track."""
        return self._timings

    @property
    def dropped(self) -> int:
        """Frames of a live source that were replaced by a newer one before their turn came."""
        return self._frames.dropped

    def __iter__(self) -> Self:
        """Return itself: each frame comes once."""
        return self

    def __next__(self) -> Tracked:
        """Wait for the next frame and its faces.

        Raises:
            StopIteration: the source has ended, or the pipeline is closed.
            Exception: whatever was raised in a stage, with its traceback, after all frames before it.
        """
        try:
            self._start()
            tracked = next(self._tracked)
        except BaseException:  # the end, an error or Ctrl-C: nothing may be left running
            self.close()
            raise
        if self._tickets is not None:
            next(self._tickets, None)
        return tracked

    def close(self) -> None:
        """Stop the threads, wait for them and close source and tracker; calling it again does nothing."""
        with self._lock:
            self._stop()

    def _start(self) -> None:
        with self._lock:
            if self._stop.alive and not self._threads:
                self._spawn_all()

    def _spawn_all(self) -> None:
        frames = _paced(self._frames, self._tickets) if self._tickets is not None else self._frames
        self._spawn("capture", _captured(self._source, self._timings), None, self._frames)
        self._spawn("track", _tracked(self._tracker, frames), self._frames, self._tracked)

    def _spawn(self, name: str, items: Iterator[T], inlet: Channel[Any] | None, outlet: Channel[T]) -> None:
        # Every thread is joined by close(). As daemons they let the interpreter come as far as its exit
        # handlers, which call it, when a script ends with a pipeline still open.
        thread = threading.Thread(target=_pump, args=(items, inlet, outlet), name=f"nasion-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _channels(self) -> list[Channel[Any]]:
        tickets = [] if self._tickets is None else [self._tickets]
        return [self._frames, self._tracked, *tickets]


def _pump(items: Iterator[T], inlet: Channel[Any] | None, outlet: Channel[T]) -> None:
    """Run a stage: pass on what it makes, then its end or its error; stop what feeds it."""
    try:
        for item in items:
            if not outlet.put(item):
                break
        outlet.close()
    except BaseException as error:  # noqa: BLE001 - raised again where the results are read
        outlet.close(error)
    finally:
        if inlet is not None:
            inlet.cancel()


def _captured(source: Source, timings: Timings) -> Iterator[Frame]:
    frames = iter(source)
    while True:
        wall, cpu = perf_counter(), thread_time()
        frame = next(frames, None)
        if frame is None:
            return
        timings.add("decode", perf_counter() - wall, thread_time() - cpu)
        yield frame


def _paced(frames: Channel[Frame], tickets: Channel[None]) -> Iterator[Frame]:
    """Take the newest frame only once the result before it has been taken."""
    while tickets.put(None):
        frame = next(frames, None)
        if frame is None:
            return
        yield frame


def _tracked(tracker: FrameTracker, frames: Iterable[Frame]) -> Iterator[Tracked]:
    for frame in frames:
        yield frame, tracker.update(frame)


def _shut_down(
    channels: list[Channel[Any]], threads: list[threading.Thread], source: Source, tracker: FrameTracker
) -> None:
    for channel in channels:
        channel.cancel()
    try:
        source.close()
    finally:
        # The garbage collector may run this inside a stage, which cannot wait for itself; all end anyway.
        if threading.current_thread() not in threads:
            for thread in threads:
                if thread.is_alive():  # Ctrl-C may have come while they were being started
                    thread.join()
            tracker.close()
