"""Hub: tracks the faces of many sources with one set of networks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self, cast

from ...engines.closing import Closing
from ...engines.errors import NasionError
from ..sources import Source, open_source
from ..tracking.requests import Networks
from ..tracking.state import Tracking
from ..tracking.tracker import Tracker, TrackerOptions
from ..values.numeric import finite
from .feed import Clock, Feed, SystemClock
from .memory import give_back
from .recording import Recorder, Recording
from .results import LiveResult
from .rounds.batch import Batch
from .rounds.member import Member
from .specs import Roi, SourceLike, SourceSpec
from .status import HubStatus, SourceStatus
from .subscriptions import Subscription

MOST_SOURCES = 256
_CHECK = 0.25  # seconds between two looks at the threads of the sources
_GIVE_BACK = 20.0  # seconds after which free memory is returned to the system
_PATIENCE = 0.5  # seconds for which closing waits for all threads that read; one that is blocked is left to itself
_RECORDED = 1.0  # seconds for which closing waits for all recordings


class UnknownSource(NasionError):
    """The hub has no source of that name."""


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
        self._members: dict[str, Member] = {}
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
        given = str(source) if isinstance(source, Path) else source
        spec = given if isinstance(given, SourceSpec) else SourceSpec(given, name, max_fps, roi, loop)
        timeout = self._timeout or (15.0 if spec.is_hls else 3.0)
        opener = opener or partial(open_source, spec.source, timeout=timeout, decode=self._decode, light=True)
        tracking = Tracking.over(self._networks, self.options, permit=self._batch.permits.take)
        with self._lock:
            if self._is_closed:
                raise NasionError("this hub is closed; make a new one")
            if len(self._members) >= self._most:
                raise NasionError(f"there are {self._most} sources already; remove one first")
            chosen = spec.named(self._members)
            feed = Feed(
                replace(spec, name=chosen), chosen, opener, timeout=timeout, reconnect=self._reconnect,
                wake=self._ready.set, clock=self._clock,
            )  # fmt: skip
            recorder = None if self._record is None else Recorder(self._record, chosen)
            self._members[chosen] = Member(feed, tracking, recorder, self._clock.monotonic())
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
            member = self._member(name)
            del self._members[name]
            self._frames += member.frames
            self._dropped += member.feed.dropped
            for subscription in self._subscriptions:
                subscription.finish(name)
        member.feed.stop()
        member.end_recording()

    def pause(self, name: str) -> None:
        """Stop reading a source: a file keeps its place, a live source is disconnected.

        Raises:
            UnknownSource: there is none of that name.
        """
        self._feed(name).pause()

    def resume(self, name: str) -> None:
        """Continue reading a paused source.

        Raises:
            UnknownSource: there is none of that name.
        """
        self._feed(name).resume()

    def names(self) -> tuple[str, ...]:
        """Return the names of all sources, in the order in which they were added."""
        with self._lock:
            return tuple(self._members)

    def newest(self, name: str) -> LiveResult | None:
        """Return the newest tracked frame of a source; None before the first.

        Raises:
            UnknownSource: there is none of that name.
        """
        with self._lock:
            return self._member(name).newest

    def source(self, name: str) -> SourceStatus:
        """Return the status of one source.

        Raises:
            UnknownSource: there is none of that name.
        """
        with self._lock:
            return self._member(name).status(self._clock)

    def status(self) -> HubStatus:
        """Return the status of the hub and of all sources."""
        with self._lock:
            sources = tuple(member.status(self._clock) for member in self._members.values())
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
                    if name in self._members and self._members[name].is_over:
                        subscription.finish(name)
        return subscription

    def call(self, callback: Callable[[LiveResult], object], *names: str) -> Subscription:
        """Call a function with each result, in a thread of its own; close the subscription to stop.

        An error of the function ends the subscription, and is logged.
        """
        subscription = self.subscribe(*names)
        threading.Thread(target=subscription.deliver, args=(callback,), name="nasion-callback", daemon=True).start()
        return subscription

    @property
    def is_over(self) -> bool:
        """True if there are sources, and all of them have ended and their results are delivered."""
        with self._lock:
            return bool(self._members) and all(member.is_over for member in self._members.values())

    def __iter__(self) -> Self:
        """Return the hub itself; each result from now on is returned once."""
        self._results()
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
                if self.is_over and not results.ready:
                    raise StopIteration from None

    def __aiter__(self) -> Self:
        """Return the hub itself; each result from now on is returned once."""
        return self.__iter__()

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
                if self.is_over and not results.ready:
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
            members = list(self._members.values())
        for member in members:
            member.feed.stop()
        self._closing.set()
        self._ready.set()
        began = self._clock.monotonic()
        for thread in set(self._threads) - {threading.current_thread()}:
            thread.join()  # for the round of tracking that is under way
        for member in members:
            member.end_recording()
        for member in members:
            member.feed.join(max(began + _PATIENCE - self._clock.monotonic(), 0.0))
        for member in members:
            member.join_recording(max(began + _RECORDED - self._clock.monotonic(), 0.1))
        with self._lock:
            subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            subscription.end()
        if self.tracker is not None:
            self.tracker.close()

    def _member(self, name: str) -> Member:
        if name not in self._members:
            there = ", ".join(self._members) or "none"
            raise UnknownSource(f"there is no source {name!r:.80}; sources: {there}")
        return self._members[name]

    def _feed(self, name: str) -> Feed:
        with self._lock:
            return self._member(name).feed

    def _forget(self, subscription: Subscription) -> None:
        with self._lock, suppress(ValueError):
            self._subscriptions.remove(subscription)

    # What follows runs in the threads of the hub.

    def _look_after(self) -> None:
        given_back = self._clock.monotonic()
        while not self._clock.wait(self._closing, _CHECK):
            if (now := self._clock.monotonic()) - given_back > _GIVE_BACK:
                given_back = now
                give_back()
            with self._lock:
                feeds = [member.feed for member in self._members.values()]
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
            members = list(self._members.values())
        due = [(member, captured) for member in members if (captured := member.take()) is not None]
        if not due or self._is_closed:
            return
        outcomes = self._batch.track([member.prepared(captured) for member, captured in due])
        now, wall = self._clock.monotonic(), self._clock.wall()
        with self._lock:
            self._ticks += 1
            results = [
                (member, member.result(captured, outcome, now, wall - now))
                for (member, captured), outcome in zip(due, outcomes, strict=True)
                if isinstance(outcome, list)
            ]
            subscriptions = list(self._subscriptions)
        for member, result in results:
            for subscription in subscriptions:
                subscription.put(result)
            member.record(result)
        for (member, _), outcome in zip(due, outcomes, strict=True):
            if isinstance(outcome, Exception):
                member.fail(outcome)

    def _finish_ended(self) -> None:
        """Finish the recordings and subscriptions of sources that have ended."""
        with self._lock:
            for name, member in self._members.items():
                if member.feed.is_over and not member.is_over:
                    member.is_over = True
                    member.end_recording()
                    for subscription in self._subscriptions:
                        subscription.finish(name)
