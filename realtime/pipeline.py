"""``nasion.track``: a threaded pipeline that decodes one frame while tracking another."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, Protocol, Self, TypeVar, Unpack, cast

from ..engines.closing import AsyncClosing
from ..engines.errors import NasionError
from .faces.face import Face
from .faces.frame import Frame
from .sinks.header import Header
from .sources import Source, SourceInfo, open_source
from .threads.channels import Channel, ready
from .threads.timing import Timings
from .tracking.options import TrackerKeywords
from .tracking.tracker import Tracker, TrackerOptions, chosen_options
from .values.names import check_names
from .values.source_options import SourceKeywords, SourceOptions

T = TypeVar("T")
Tracked = tuple[Frame, list[Face]]

# Frames queued between two stages for a file. A longer queue wakes the threads less often but costs memory: 6 MB a
# frame at 1080p.
_FILE_CAPACITY = 4


class TrackKeywords(SourceKeywords, TrackerKeywords, total=False):
    """Fields of ``SourceOptions`` and of ``TrackerOptions`` as keyword arguments."""


def track(
    source: str | int | Path, options: TrackerOptions | None = None, **overrides: Unpack[TrackKeywords]
) -> Pipeline:
    """Track the faces of a video: ``for frame, faces in nasion.track("film.mp4")``.

    A file yields every frame. A camera or stream yields the newest frame: frames that arrive faster than they are
    consumed are dropped and counted in ``dropped``. Leaving the loop stops all threads. ``async for`` works, too.

    Args:
        source: a video file, an image, a folder of images, a camera number, a URL or ``pattern:``; see ``open_source``.
        options: options of the tracker; by default those of ``TrackerOptions()``.
        **overrides: fields of ``SourceOptions``, such as ``start=1.5``, and of ``TrackerOptions``, such as
            ``detect_interval=0.2``, which replace those of ``options``.

    Raises:
        NasionError: an option is unknown or invalid, or the source or model cannot be opened. Raised by this call, not
            at the first frame. An error while reading is raised by the loop, after the last good frame.

    Examples:
        >>> import nasion
        >>> for frame, faces in nasion.track("video.mp4", max_faces=2, end=0.05):
        ...     print(frame.index, [face.id for face in faces])
        0 [1]
        1 [1]
    """
    reading, tracking = ([each.name for each in fields(kind)] for kind in (SourceOptions, TrackerOptions))
    check_names(overrides, {"the source": reading, "the tracker": tracking})
    of_tracker = {name: value for name, value in overrides.items() if name in tracking}
    of_source = {name: value for name, value in overrides.items() if name in reading}
    chosen = chosen_options(options, cast(TrackerKeywords, of_tracker))
    decode = chosen.where_to_decode(SourceOptions(**cast(SourceKeywords, of_source)).decode)
    opened = open_source(source, **cast(SourceKeywords, of_source | {"decode": decode}))
    try:
        return Pipeline(opened, Tracker(chosen))
    except BaseException:
        opened.close()
        raise


def header_of(info: SourceInfo, tracker: Tracker) -> Header:
    """Return the header of a landmark file of a source and the networks of a tracker."""
    aligner = tracker.networks.aligner
    models = {part: network.spec.name for part, network in tracker.runtimes.items()}
    on_gpu = {part: each for part, each in tracker.runtimes.items() if each.device != "cpu"}
    return Header.of(
        info,
        scheme=aligner.scheme,
        landmarks=aligner.landmarks,
        visibility=aligner.visibility,
        measures=tracker.options.measures,
        focal_length=tracker.options.focal_length,
        models=models,
        runtimes={part: f"{network.provider} on {network.device}" for part, network in on_gpu.items()},
    )


class FrameTracker(Protocol):
    """Interface of a tracker for the pipeline, which calls it from one thread with the frames in order."""

    timings: Timings | None
    checks_times: bool

    def update(self, frame: Frame) -> list[Face]:
        """Return the faces of the next frame."""
        ...

    def close(self) -> None:
        """Free the networks."""
        ...


class Pipeline(AsyncClosing):
    """One capture thread and one tracking thread over a source; iterate over it to get the results.

    ``for`` waits for the next result; ``async for`` lets other tasks of the event loop run meanwhile. Cancelling a task
    that waits closes the pipeline, and so does the end of a ``with`` or ``async with`` block. Closing waits for the
    frame that is being tracked.

    The results equal those of ``Tracker.update`` for the same frames. Reading a file waits for the tracker, so every
    frame is returned. For a live source, one frame is being tracked and one waits, which a newer frame replaces. The
    next frame is started when the previous result has been taken, so no queue of old images builds up.

    More threads gain nothing; docs/benchmarks.md has the measurement.

    The threads start when the first frame is requested. They stop after the last frame, on an error, on ``close``, and
    when the pipeline is garbage-collected.
    """

    def __init__(self, source: Source, tracker: FrameTracker) -> None:
        """Take ownership of an open source and a tracker; both are closed with the pipeline."""
        live = source.info.live
        self._source, self._tracker = source, tracker
        self._timings = tracker.timings = Timings()
        tracker.checks_times = False
        self._frames: Channel[Frame]
        self._frames = Channel(1, when_full="drop_oldest") if live else Channel(_FILE_CAPACITY)
        self._tracked: Channel[Tracked] = Channel(_FILE_CAPACITY)
        self._tickets: Channel[None] | None = Channel(1) if live else None
        self._threads: list[threading.Thread] = []
        self._process = os.getpid()
        self._lock = threading.Lock()  # close() may be called while another thread requests the first frame
        # The threads hold references to the channels but not to the pipeline, which they would keep alive.
        self._stop = weakref.finalize(self, _shut_down, self._channels(), self._threads, source, tracker)

    @property
    def info(self) -> SourceInfo:
        """Description of the source."""
        return self._source.info

    @property
    def header(self) -> Header:
        """Header of a landmark file of this source and these networks."""
        return header_of(self.info, cast(Tracker, self._tracker))

    @property
    def tracker(self) -> FrameTracker:
        """Tracker in use; do not call it while the pipeline is running."""
        return self._tracker

    @property
    def timings(self) -> Timings:
        """Time per frame of decode, detect, align and track; for a live source decode includes waiting for a frame."""
        return self._timings

    @property
    def dropped(self) -> int:
        """Number of frames of a live source that a newer one replaced before they were tracked."""
        return self._frames.dropped

    def __iter__(self) -> Self:
        """Return the pipeline itself; each frame is returned once."""
        return self

    def __next__(self) -> Tracked:
        """Wait for the next frame and its faces.

        Raises:
            StopIteration: the source has ended, or the pipeline is closed.
            Exception: an error raised in a stage, with its traceback, after all frames before it.
            NasionError: the pipeline was created in another process.
        """
        if self._process != os.getpid():
            raise NasionError("this pipeline was created in another process; call nasion.track in the one that uses it")
        try:
            self._start()
            tracked = next(self._tracked)
        except BaseException:  # end of the source, an error or Ctrl-C: leave no thread running
            self.close()
            raise
        if self._tickets is not None:
            next(self._tickets, None)
        return tracked

    def __aiter__(self) -> Self:
        """Return the pipeline itself; each frame is returned once."""
        return self

    async def __anext__(self) -> Tracked:
        """Wait for the next frame and its faces without blocking the event loop.

        Raises:
            StopAsyncIteration: the source has ended, or the pipeline is closed.
            Exception: as ``__next__``.
        """
        try:
            self._start()
            while not self._tracked.ready:  # another task may have taken the frame
                await ready(self._tracked)
        except BaseException:  # the task was cancelled: leave no thread running
            self.close()
            raise
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Stop and join the threads, then close the source and the tracker. Calling it again does nothing."""
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
        # close() joins every thread. Daemon threads let the interpreter reach its exit handlers, which call close(),
        # when a script ends with an open pipeline.
        thread = threading.Thread(target=_pump, args=(items, inlet, outlet), name=f"nasion-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _channels(self) -> list[Channel[Any]]:
        tickets = [] if self._tickets is None else [self._tickets]
        return [self._frames, self._tracked, *tickets]


def _pump(items: Iterator[T], inlet: Channel[Any] | None, outlet: Channel[T]) -> None:
    """Run a stage: forward its items, then its end or its error, to ``outlet``; cancel ``inlet`` at the end."""
    try:
        for item in items:
            if not outlet.put(item):
                break
        outlet.close()
    except BaseException as error:  # noqa: BLE001 - raised again in the thread that reads the results
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
    """Yield the newest frame, only after the previous result has been taken."""
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
        # The garbage collector may run this inside a stage, which cannot join itself; all threads end anyway.
        if threading.current_thread() not in threads:
            for thread in threads:
                if thread.is_alive():  # Ctrl-C may have interrupted the start of the threads
                    thread.join()
            tracker.close()
