"""``nasion.live``: a hub that tracks the faces of many sources with one set of networks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self, Unpack, cast

import numpy as np

from ...engines.closing import Closing
from ...engines.errors import NasionError
from ..faces.face import Face
from ..faces.frame import Frame
from ..sources import Source, open_source
from ..tracking.options import TrackerKeywords
from ..tracking.requests import Networks
from ..tracking.state import Tracking
from ..tracking.tracker import Tracker, TrackerOptions
from ..values.landmarks import Landmarks
from ..values.numeric import finite
from .batch import Batch
from .feed import Captured, Clock, Feed, SystemClock
from .memory import give_back
from .meters import Meter
from .recording import Recorder, Recording
from .results import LiveResult
from .specs import Roi, SourceSpec
from .status import HubStatus, SourceStatus
from .subscriptions import Subscription

_log = logging.getLogger(__name__)

MOST_SOURCES = 256
_CHECK = 0.25  # seconds between two looks at the threads of the sources
_GIVE_BACK = 20.0  # seconds after which free memory is returned to the system
_PATIENCE = 1.0  # seconds for which closing waits for all of these threads
SourceLike = str | int | Path | SourceSpec


class UnknownSource(NasionError):
    """The hub has no source of that name."""


class _Entry:
    """Source of a hub: its feed, its tracker and what is known of its results."""

    def __init__(self, feed: Feed, tracking: Tracking, recorder: Recorder | None, now: float) -> None:
        self.feed, self.tracking, self.recorder = feed, tracking, recorder
        self.meter = Meter(now)
        self.frames = self.identities = self.last_id = 0
        self.connection = 0
        self.is_over = False  # ended, with all its results delivered
        self.newest: LiveResult | None = None


class Hub(Closing):
    """Many sources, tracked together: each in a thread of its own, all with the same networks.

    A round takes the newest frame of every source that has one. Older frames are dropped and counted, so that the
    latency does not grow. A source that is slow, lost or dead holds no other.

    Sources may be added, removed and paused at any time, and every method may be called from any thread. Iterate over
    the hub for the results of all sources: ``for result in hub`` or ``async for result in hub``.

    Examples:
        >>> import nasion
        >>> with nasion.live("video.mp4", max_faces=1) as hub:
        ...     result = next(hub)
        >>> result.source, len(result.faces)
        ('video', 1)
    """

    def __init__(
        self,
        options: TrackerOptions | None = None,
        *,
        networks: Networks | None = None,
        timeout: float | None = None,
        reconnect: bool = True,
        decode: str = "cpu",
        record: Recording | None = None,
        most_sources: int = MOST_SOURCES,
        clock: Clock | None = None,
    ) -> None:
        """Load the networks and start, without sources.

        Args:
            options: options of the trackers; None for the defaults.
            networks: loaded networks to use instead of those of the options; the caller closes them.
            timeout: seconds without a frame after which a live source is lost; by default 3, for HLS 15.
            reconnect: restore lost connections; otherwise a lost source has ended.
            decode: device that decodes files and streams, as for ``open_source``.
            record: where and how to record the sources.
            most_sources: largest number of sources.
            clock: clock, for tests.

        Raises:
            NasionError: an option is not allowed, or a network cannot be loaded.
        """
        if timeout is not None and ((seconds := finite(timeout)) is None or seconds <= 0):
            raise NasionError(f"timeout={timeout!r:.60} is not allowed; give seconds above 0")
        self.options: TrackerOptions = options or TrackerOptions()
        self.tracker: Tracker | None = Tracker(self.options) if networks is None else None
        self._networks: Networks = cast(Tracker, self.tracker).networks if networks is None else networks
        self._batch = Batch(self._networks)
        self._timeout, self._reconnect, self._decode = timeout, reconnect, decode
        self._record, self._most = record, most_sources
        self._clock: Clock = clock or SystemClock()
        self._started = self._clock.wall()
        self._entries: dict[str, _Entry] = {}
        self._subscriptions: list[Subscription] = []
        self._lock = threading.Lock()  # guards the two above, and the counters
        self._ticks = self._frames = self._dropped = 0  # the last two of removed sources
        self._is_closed = False
        self._ready = threading.Event()  # a frame waits, or the hub is closed
        self._closing = threading.Event()
        self._own: Subscription | None = None
        self._threads = [
            threading.Thread(target=self._run, name="nasion-hub", daemon=True),
            threading.Thread(target=self._look_after, name="nasion-hub-check", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def add(
        self,
        source: SourceLike,
        *,
        name: str = "",
        max_fps: float | None = None,
        roi: Roi | None = None,
        loop: bool = False,
        opener: Callable[[], Source] | None = None,
    ) -> str:
        """Add a source and return its name at once; it is opened in the background.

        Args:
            source: address, file or camera, or a whole ``SourceSpec``, for which the other arguments are not needed.
            name: name of the source; by default one is derived from the address.
            max_fps: maximum number of frames tracked per second.
            roi: part of the image in which faces are tracked: x, y, width, height.
            loop: start a file again when it has ended.
            opener: opens the source, for sources of your own.

        Raises:
            NasionError: the source or its name is not allowed, a file is missing, FFmpeg lacks the protocol, there are
                too many sources, or the hub is closed.
        """
        if isinstance(source, SourceSpec):
            spec = source
        else:
            text = source if isinstance(source, int) else str(source)
            spec = SourceSpec(text, name, max_fps, roi, loop)
        timeout = self._timeout or (15.0 if spec.is_hls else 3.0)
        if opener is None:
            opener = partial(open_source, spec.source, timeout=timeout, decode=self._decode, light=True)
        tracking = Tracking.over(self._networks, self.options, permit=self._batch.permits.take)
        with self._lock:
            if self._is_closed:
                raise NasionError("this hub is closed; make a new one")
            if len(self._entries) >= self._most:
                raise NasionError(f"there are {self._most} sources already; remove one first")
            chosen = spec.named(self._entries)
            feed = Feed(
                replace(spec, name=chosen), chosen, opener, timeout=timeout, reconnect=self._reconnect,
                wake=self._ready.set, clock=self._clock,
            )  # fmt: skip
            recorder = None if self._record is None else Recorder(self._record, chosen)
            self._entries[chosen] = _Entry(feed, tracking, recorder, self._clock.monotonic())
            for subscription in self._subscriptions:
                subscription.begin(chosen)
        feed.start()
        return chosen

    def remove(self, name: str) -> None:
        """Remove a source; its identities and counters are gone, apart from the sums of the hub.

        Raises:
            UnknownSource: there is none of that name.
        """
        with self._lock:
            entry = self._entry(name)
            del self._entries[name]
            self._frames += entry.frames
            self._dropped += entry.feed.dropped
            for subscription in self._subscriptions:
                subscription.finish(name)
        entry.feed.stop()
        if entry.recorder is not None:
            entry.recorder.end()

    def pause(self, name: str) -> None:
        """Stop reading a source: a file keeps its place, a live source is disconnected.

        Raises:
            UnknownSource: there is none of that name.
        """
        with self._lock:
            feed = self._entry(name).feed
        feed.pause()

    def resume(self, name: str) -> None:
        """Continue reading a paused source.

        Raises:
            UnknownSource: there is none of that name.
        """
        with self._lock:
            feed = self._entry(name).feed
        feed.resume()

    def names(self) -> tuple[str, ...]:
        """Return the names of all sources, in the order in which they were added."""
        with self._lock:
            return tuple(self._entries)

    def newest(self, name: str) -> LiveResult | None:
        """Return the newest tracked frame of a source; None before the first.

        Raises:
            UnknownSource: there is none of that name.
        """
        with self._lock:
            return self._entry(name).newest

    def source(self, name: str) -> SourceStatus:
        """Return the status of one source.

        Raises:
            UnknownSource: there is none of that name.
        """
        with self._lock:
            return self._status_of(name, self._entry(name))

    def status(self) -> HubStatus:
        """Return the status of the hub and of all sources."""
        with self._lock:
            sources = tuple(self._status_of(name, entry) for name, entry in self._entries.items())
            calls = self._batch.calls
            return HubStatus(
                at=self._clock.wall(), started=self._started, sources=sources, ticks=self._ticks,
                aligner_calls=calls.aligner, detector_calls=calls.detector,
                aligned=calls.aligned, detected=calls.detected,
                frames=self._frames + sum(each.frames for each in sources),
                dropped=self._dropped + sum(each.dropped for each in sources),
            )  # fmt: skip

    @property
    def batches(self) -> Mapping[int, int]:
        """Number of aligner calls by the number of crops in them."""
        return dict(self._batch.calls.batches)

    def subscribe(self, *names: str, capacity: int = 4) -> Subscription:
        """Subscribe to the results of some sources; without names, to those of all, also of later ones.

        Args:
            *names: names of sources, which may be added later.
            capacity: number of results of each source that wait for the client; newer ones replace older ones.
        """
        subscription = Subscription(names, capacity=capacity, on_close=self._forget)
        with self._lock:
            if self._is_closed:
                subscription.end()
            else:
                self._subscriptions.append(subscription)
                for name in names:
                    if name in self._entries and self._entries[name].is_over:
                        subscription.finish(name)
        return subscription

    def call(self, callback: Callable[[LiveResult], object], *names: str) -> Subscription:
        """Call a function with each result, in a thread of its own; close the subscription to stop.

        An error of the function ends the subscription, and is logged.
        """
        subscription = self.subscribe(*names)
        threading.Thread(target=_call, args=(callback, subscription), name="nasion-callback", daemon=True).start()
        return subscription

    @property
    def is_over(self) -> bool:
        """True if there are sources, and all of them have ended."""
        with self._lock:
            states = [entry.feed.connection.state for entry in self._entries.values()]
        return bool(states) and all(state == "ended" for state in states)

    def __iter__(self) -> Self:
        """Return the hub itself; each result is returned once."""
        return self

    def __next__(self) -> LiveResult:
        """Wait for the next result of any source.

        Raises:
            StopIteration: all sources have ended, or the hub is closed.
        """
        results = self._results()
        while True:
            try:
                return results.get(0.2)
            except TimeoutError:
                if self.is_over:
                    raise StopIteration from None

    def __aiter__(self) -> Self:
        """Return the hub itself; each result is returned once."""
        return self

    async def __anext__(self) -> LiveResult:
        """Wait for the next result without blocking the event loop.

        Raises:
            StopAsyncIteration: all sources have ended, or the hub is closed.
        """
        import asyncio

        results = self._results()
        while True:
            try:
                return await asyncio.wait_for(anext(results), 0.2)
            except TimeoutError:
                if self.is_over:
                    raise StopAsyncIteration from None

    def _results(self) -> Subscription:
        if self._own is None:
            self._own = self.subscribe()
        return self._own

    def close(self) -> None:
        """Stop all sources and free the networks, within 2 s whatever the sources do. Calling it again does nothing."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            entries = list(self._entries.values())
        for entry in entries:
            entry.feed.stop()
        self._closing.set()
        self._ready.set()
        until = self._clock.monotonic() + _PATIENCE
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()  # for the round of tracking that is under way
        for entry in entries:
            entry.feed.join(max(until - self._clock.monotonic(), 0.0))
            if entry.recorder is not None:
                entry.recorder.end()
        for entry in entries:
            if entry.recorder is not None:
                entry.recorder.join(max(until - self._clock.monotonic(), 0.1))
        with self._lock:
            subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            subscription.end()
        if self.tracker is not None:
            self.tracker.close()

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            there = ", ".join(self._entries) or "none"
            raise UnknownSource(f"there is no source {name!r:.80}; sources: {there}")
        return self._entries[name]

    def _forget(self, subscription: Subscription) -> None:
        with self._lock, suppress(ValueError):
            self._subscriptions.remove(subscription)

    def _status_of(self, name: str, entry: _Entry) -> SourceStatus:
        feed, newest, now = entry.feed, entry.newest, self._clock.monotonic()
        wall = self._clock.wall() - now
        with feed.lock:
            connection = feed.connection
            following = connection.next_attempt
            return SourceStatus(
                name=name, address=feed.spec.address, state=connection.state, reason=connection.reason,
                since=wall + connection.since, next_attempt=None if following is None else wall + following,
                is_live=feed.is_live, rate=feed.rate, fps=entry.meter.rate(now), frames=entry.frames,
                received=feed.received, dropped=feed.dropped, skipped=feed.skipped,
                damaged=feed.damaged,
                losses=connection.losses, reconnects=connection.reconnects, identities=entry.identities,
                width=newest.frame.width if newest else 0, height=newest.frame.height if newest else 0,
                faces=len(newest.faces) if newest else 0, index=newest.frame.index if newest else None,
                time=newest.frame.time if newest else None, captured=newest.captured if newest else None,
                latency=entry.meter.latency(now), recording=None if entry.recorder is None else entry.recorder.status(),
            )  # fmt: skip

    # What follows runs in the threads of the hub.

    def _look_after(self) -> None:
        given_back = self._clock.monotonic()
        while not self._clock.wait(self._closing, _CHECK):
            if (now := self._clock.monotonic()) - given_back > _GIVE_BACK:
                given_back = now
                give_back()
            with self._lock:
                feeds = [entry.feed for entry in self._entries.values()]
            for feed in feeds:
                feed.check()

    def _run(self) -> None:
        while not self._is_closed:
            self._ready.wait()
            self._ready.clear()
            self._tick()
            self._finish_ended()

    def _tick(self) -> None:
        """Track the newest frame of every source that has one."""
        with self._lock:
            entries = list(self._entries.values())
        due = []
        for entry in entries:
            captured = entry.feed.take()
            if captured is None:
                continue
            if problem := _outside(entry.feed.spec.roi, captured.frame):
                entry.feed.fail(problem, for_good=True)
            else:
                due.append((entry, captured))
        if not due or self._is_closed:
            return
        outcomes = self._batch.track([self._prepared(entry, captured) for entry, captured in due])
        now = self._clock.monotonic()
        wall = self._clock.wall() - now
        results = []
        with self._lock:
            self._ticks += 1
            for (entry, captured), outcome in zip(due, outcomes, strict=True):
                if isinstance(outcome, list):
                    results.append((entry, self._result(entry, captured, outcome, now, wall)))
            subscriptions = list(self._subscriptions)
        for entry, result in results:
            for subscription in subscriptions:
                subscription.put(result)
            if entry.recorder is not None:
                entry.recorder.put(result)
        for (entry, _), outcome in zip(due, outcomes, strict=True):
            if isinstance(outcome, Exception):
                _log.debug("%s", entry.feed.name, exc_info=outcome)
                entry.feed.fail(_reason(outcome))

    def _finish_ended(self) -> None:
        """Finish the recordings and subscriptions of sources that have ended."""
        with self._lock:
            for name, entry in self._entries.items():
                if entry.is_over or not entry.feed.is_over:
                    continue
                entry.is_over = True
                if entry.recorder is not None:
                    entry.recorder.end()
                for subscription in self._subscriptions:
                    subscription.finish(name)

    def _prepared(self, entry: _Entry, captured: Captured) -> tuple[Tracking, Frame]:
        """Return the tracker of a source and the frame, or the part of it, to track."""
        if captured.connection != entry.connection:
            if entry.connection:
                entry.tracking.reset()
            entry.connection = captured.connection
        roi = entry.feed.spec.roi
        return entry.tracking, captured.frame if roi is None else _part(captured.frame, roi)

    def _result(self, entry: _Entry, captured: Captured, faces: list[Face], now: float, wall: float) -> LiveResult:
        roi = entry.feed.spec.roi
        if roi is not None:
            faces = [_moved(face, roi[0], roi[1]) for face in faces]
        latency = now - captured.at
        entry.frames += 1
        entry.meter.add(now, latency)
        newest = max((face.id for face in faces), default=0)
        entry.identities += sum(face.id > entry.last_id for face in faces)
        entry.last_id = max(entry.last_id, newest)
        entry.newest = LiveResult(
            entry.feed.name, captured.frame, faces, wall + captured.at, latency, captured.connection
        )
        return entry.newest


def _part(frame: Frame, roi: Roi) -> Frame:
    """Return a part of a frame: the region of interest as far as it lies in the image."""
    x, y, width, height = roi
    return Frame(frame.image[y : y + height, x : x + width], frame.time, frame.index, frame.source)


def _outside(roi: Roi | None, frame: Frame) -> str:
    """Return what is wrong if no pixel of the region of interest lies in the image; otherwise an empty text."""
    if roi is None or (roi[0] < frame.width and roi[1] < frame.height):
        return ""
    return (
        f"roi={','.join(map(str, roi))} is outside the image, which is {frame.width}x{frame.height} pixels; "
        f"give x below {frame.width} and y below {frame.height}"
    )


def _moved(face: Face, x: int, y: int) -> Face:
    """Return a face of a part of the image in pixels of the whole."""
    offset = np.array([x, y], np.float32)
    return replace(
        face, box=face.box + np.tile(offset, 2), landmarks=Landmarks(face.landmarks + offset, face.landmarks.scheme)
    )


def _reason(error: Exception) -> str:
    """Return the text of an error that concerns a frame: that of ours, but no more than the kind of others."""
    return str(error) if isinstance(error, NasionError) else f"a frame cannot be tracked ({type(error).__name__})"


def _call(callback: Callable[[LiveResult], object], subscription: Subscription) -> None:
    try:
        for result in subscription:
            callback(result)
    except Exception:  # noqa: BLE001 - the function is not ours; the others go on
        _log.exception("a callback of nasion.live failed; it is not called again")
    finally:
        subscription.close()


def live(
    sources: SourceLike | Iterable[SourceLike] | Mapping[str, SourceLike],
    options: TrackerOptions | None = None,
    *,
    callback: Callable[[LiveResult], object] | None = None,
    timeout: float | None = None,
    reconnect: bool = True,
    decode: str = "cpu",
    record: Recording | None = None,
    **overrides: Unpack[TrackerKeywords],
) -> Hub:
    """Track the faces of many live sources: ``for result in nasion.live({"door": "rtsp://…", "desk": 0})``.

    The hub that is returned has already begun; close it, or use it in a ``with`` block. ``async for`` works, too.

    Args:
        sources: one source, several, or several by name.
        options: options of the trackers; None for the defaults.
        callback: called with each result, in a thread of its own; then there is no need to iterate.
        timeout: seconds without a frame after which a live source is lost; by default 3, for HLS 15.
        reconnect: restore lost connections.
        decode: device that decodes files and streams, as for ``open_source``.
        record: where and how to record the sources.
        **overrides: fields of ``TrackerOptions``, for example ``max_faces=2``; they replace those of ``options``.

    Raises:
        NasionError: an option or a source is not allowed, or a network cannot be loaded. A live source that does not
            answer raises nothing: its status says so.

    Examples:
        >>> import nasion
        >>> with nasion.live({"film": "video.mp4"}, max_faces=1) as hub:
        ...     sources = {result.source for result in hub}
        >>> sources
        {'film'}
    """
    chosen = (options or TrackerOptions()).but(**overrides)
    hub = Hub(chosen, timeout=timeout, reconnect=reconnect, decode=decode, record=record)
    try:
        if callback is None:
            hub._results()  # from the first frame on
        else:
            hub.call(callback)
        if isinstance(sources, Mapping):
            for name, source in sources.items():
                hub.add(replace(source, name=name) if isinstance(source, SourceSpec) else source, name=name)
        else:
            for source in [sources] if isinstance(sources, str | int | Path | SourceSpec) else sources:
                hub.add(source)
    except BaseException:
        hub.close()
        raise
    return hub
