"""Feed: the thread that reads one source, keeps its newest frame, and connects again when the source is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ...engines.errors import NasionError
from ..faces.frame import Frame
from ..sources import Source
from ..sources.base import Arrival
from .connection import BackOff, Connection
from .pacing import LoopedSource, Pacer, Thinner
from .specs import SourceSpec

_log = logging.getLogger(__name__)

STALL = 1.0
"""Seconds without a frame after which a live source counts as stalled."""
GRACE = 1.0
"""Seconds by which a source that times out itself, and says why, may be late."""


class Clock(Protocol):
    """Clock of a hub; simulated in tests."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def wall(self) -> float:
        """Return the wall-clock time in seconds since 1970."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for the event, ``seconds`` at most, and return True if it is set."""


class SystemClock:
    """The clock of the system."""

    monotonic, wall = staticmethod(time.monotonic), staticmethod(time.time)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for the event, ``seconds`` at most, and return True if it is set."""
        return event.wait(max(seconds, 0.0))


@dataclass(frozen=True, slots=True)
class Captured:
    """Frame that waits for the tracker.

    Attributes:
        frame: the frame.
        at: monotonic time of its capture.
        connection: number of the connection from which it came.
    """

    frame: Frame
    at: float
    connection: int


class Feed:
    """Source of a hub: reads in a thread of its own, and keeps only the newest frame.

    A blocked read holds nothing but that thread: when the feed is stopped or the read lasts too long, the thread is
    left to itself, and ends as soon as the system lets it.

    Attributes:
        spec: the source.
        name: its name in the hub.
        connection: its state. Read it under ``lock``.
        received, dropped, skipped, damaged: counters of frames and packets; see ``SourceStatus``.
        is_live: None before the first connection.
        rate: frames per second that the source names.
        lock: guards all of these.
    """

    def __init__(
        self,
        spec: SourceSpec,
        name: str,
        opener: Callable[[], Source],
        *,
        timeout: float,
        reconnect: bool = True,
        wake: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
        back_off: BackOff | None = None,
    ) -> None:
        """Prepare to read; ``start`` begins.

        Args:
            spec: the source.
            name: its name in the hub.
            opener: opens the source; the thread of the feed calls it and reads.
            timeout: seconds without a frame after which a live source is lost.
            reconnect: restore lost connections.
            wake: called when a frame waits, and when the state changes.
            clock: clock of the hub.
            back_off: delays between attempts.
        """
        self.spec, self.name = spec, name
        self.lock = threading.Lock()
        self._clock: Clock = clock or SystemClock()
        self.connection: Connection = Connection(back_off or BackOff(), since=self._clock.monotonic())
        self.received = self.dropped = self.skipped = self.damaged = 0
        self.is_live: bool | None = None
        self.rate: float | None = None
        self._opener, self._timeout, self._reconnect, self._wake = opener, timeout, reconnect, wake
        self._newest: Captured | None = None
        self._changed = threading.Event()  # stopped, paused or resumed: ends every wait
        self._is_stopped = self._is_paused = False
        self._reading = 0  # number of the current thread; older ones are left to themselves
        self._thread: threading.Thread | None = None
        self._begun = self._clock.monotonic()  # of the current attempt to connect
        self._is_reported = False

    def start(self) -> None:
        """Start the thread."""
        with self.lock:
            self._reading += 1
            number = self._reading
        self._begun = self._clock.monotonic()
        self._thread = threading.Thread(target=self.run, args=(number,), name=f"nasion-{self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end. Does not wait."""
        with self.lock:
            self._is_stopped = True
            self._newest = None
            self._reading += 1
        self._changed.set()

    def join(self, timeout: float) -> None:
        """Wait for the thread to end, ``timeout`` seconds at most."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def pause(self) -> None:
        """Stop reading: a file keeps its place, a live source is disconnected. An ended source stays ended."""
        with self.lock:
            if self.connection.state == "ended":
                return
            self._is_paused, self._newest = True, None
            self.connection.pause(self._clock.monotonic())
        self._changed.set()
        self._wake()

    def resume(self) -> None:
        """Continue reading."""
        with self.lock:
            if not self._is_paused:
                return
            self._is_paused = False
            self.connection.attempt(self._clock.monotonic())
        self._changed.set()
        self._wake()

    def take(self) -> Captured | None:
        """Return the newest frame once; None if there is no new one."""
        with self.lock:
            newest, self._newest = self._newest, None
            return newest

    @property
    def is_over(self) -> bool:
        """True if the source has ended for good and no frame waits."""
        with self.lock:
            return self.connection.state == "ended" and self._newest is None

    def check(self) -> None:
        """Look after the thread: report a stall, and replace a thread whose read does not end."""
        now = self._clock.monotonic()
        with self.lock:
            connection, silent = self.connection, now - self.connection.last_frame
            if self._is_stopped or self._is_paused or self.is_live is False:
                return
            usual = 0.0 if self.rate is None else 3 / self.rate
            if connection.state == "live" and silent > min(max(STALL, usual), self._timeout):
                connection.stall(now)
            opening = connection.state == "connecting" and now - self._begun > 2 * self._timeout + GRACE
            stuck = connection.state == "stalled" and silent > self._timeout + GRACE
        if opening or stuck:
            self._replace(f"no {'video' if opening else 'frame'} received for {self._timeout:g} s")

    def fail(self, reason: str, *, for_good: bool = False) -> None:
        """Give up the connection because its frames cannot be tracked; ``for_good`` if others could not be either."""
        self._replace(reason, for_good=for_good)

    def _replace(self, reason: str, *, for_good: bool = False) -> None:
        """Leave the thread to itself and connect again in another, or end the source for good."""
        with self.lock:
            if self._is_stopped:
                return
            self._reading += 1
            number = self._reading
        self._changed.set()
        if for_good:
            self._end(reason)
            return
        delay = self._lose(reason)
        self._thread = threading.Thread(target=self.run, args=(number, delay), name=f"nasion-{self.name}", daemon=True)
        self._thread.start()

    # What follows runs in the thread of the feed, which owns the source that it opens.

    def run(self, number: int, delay: float | None = 0.0) -> None:
        """Read until the source ends for good or another thread replaces this one.

        Args:
            number: number of the thread.
            delay: seconds to wait first; None to do nothing, because the source has ended.
        """
        while delay is not None and self._sleep(number, delay):
            try:
                delay = self._connect(number)
            except NasionError as error:
                delay = self._lose(str(error)) if self._is_current(number) else None
            except Exception as error:  # noqa: BLE001 - reported as the state of the source; the others go on
                _log.debug("%s", self.name, exc_info=True)
                reason = f"{self.spec.address}: {type(error).__name__}"
                delay = self._lose(reason) if self._is_current(number) else None

    def _is_current(self, number: int) -> bool:
        return number == self._reading and not self._is_stopped

    def _sleep(self, number: int, seconds: float) -> bool:
        """Wait, and while the source is paused; return False if the thread is to end."""
        until = self._clock.monotonic() + seconds
        while self._is_current(number):
            self._changed.clear()
            if not self._is_current(number):
                self._changed.set()
                return False
            now = self._clock.monotonic()
            if self._is_paused:
                self._clock.wait(self._changed, 3600.0)
                until = min(until, self._clock.monotonic())
            elif now >= until:
                return True
            else:
                self._clock.wait(self._changed, until - now)
        self._changed.set()  # for the thread that replaced this one
        return False

    def _connect(self, number: int) -> float | None:
        """Open the source and read it to its end; return the seconds until the next attempt, or None at the end."""
        with self.lock:
            self._begun = self._clock.monotonic()
            self.connection.attempt(self._begun)
        self._wake()
        source = LoopedSource(self._opener) if self.spec.loop else self._opener()
        try:
            if not self._is_current(number):
                return None
            self._note_open(source)
            pace = None if self._arrives_in_time(source) else Pacer(source.info.rate)
            if self._read(source, number, pace):
                return 0.0  # paused: connect again when it is resumed
            if not self._is_current(number):
                return None
            if not self.is_live or self.spec.is_local:
                self._end()
                return None
            return self._lose(f"{source.info.name}: the stream has ended")
        finally:
            source.close()

    def _arrives_in_time(self, source: Source) -> bool:
        """Return True for a source whose frames arrive at their pace: not for files and the segments of HLS."""
        return source.info.live and not self.spec.is_hls

    def _note_open(self, source: Source) -> None:
        now = self._clock.monotonic()
        with self.lock:
            restored = self.connection.open(now)
            if self._is_paused:
                self.connection.pause(now)
            self.is_live = source.info.live or (self.spec.is_hls and source.info.duration is None)
            self.rate = None if source.info.rate is None else float(source.info.rate)
            reported, self._is_reported = self._is_reported, False
        if restored or reported:
            _log.warning("%s: connected%s", self.name, " again" if restored else "")
        self._wake()

    def _read(self, source: Source, number: int, pace: Pacer | None) -> bool:
        """Read frames until the source ends, and return True if it was left because it is paused."""
        thinner = Thinner(self.spec.max_fps)
        arrival: Arrival | None = getattr(source, "arrival", None)
        damaged = 0
        while self._is_current(number):
            if self._is_paused:
                if pace is None:
                    return True
                if not self._sleep(number, 0.0):
                    return False
                with self.lock:
                    self.connection.resume(self._clock.monotonic())
                pace.restart()
            if pace is not None and not self._wait_until(pace.expected(self._clock.monotonic()), number):
                continue
            frame = next(source, None)
            now = self._clock.monotonic()
            if frame is None or not self._is_current(number):
                return False
            if arrival is not None and arrival.damaged > damaged:
                self._note_damage(arrival.damaged - damaged, is_first=not damaged)
                damaged = arrival.damaged
            if pace is None:
                self._put(frame, now if arrival is None else arrival(), now, thinner)
                continue
            due = pace.due(frame.time, now)
            if due > now and not self._wait_until(due, number):
                continue
            self._put(frame, due, self._clock.monotonic(), thinner)
        return False

    def _note_damage(self, packets: int, *, is_first: bool) -> None:
        """Count packets that could not be decoded, and report the first ones of a connection."""
        with self.lock:
            self.damaged += packets
        if is_first:
            _log.warning("%s: packets arrive damaged; frames are missing or show traces of it", self.name)

    def _wait_until(self, due: float, number: int) -> bool:
        """Wait until ``due``; return False if the feed is paused or stopped before."""
        while (left := due - self._clock.monotonic()) > 0:
            if self._is_paused or not self._is_current(number):
                return False
            self._changed.clear()
            if self._is_paused or not self._is_current(number):
                self._changed.set()
                return False
            self._clock.wait(self._changed, left)
        return True

    def _put(self, frame: Frame, at: float, now: float, thinner: Thinner) -> None:
        with self.lock:
            self.received += 1
            if self.connection.frame(now):
                _log.info("%s: frames arrive again", self.name)
            if self._is_paused:
                return
            if not thinner.keeps(frame.time):
                self.skipped += 1
                return
            if self._newest is not None:
                self.dropped += 1
            self._newest = Captured(frame, at, self.connection.number)
        self._wake()

    def _lose(self, reason: str) -> float | None:
        """Note the loss and return the seconds until the next attempt; None if there is none."""
        if self._is_paused:
            return 0.0  # connect again when it is resumed
        if not self._reconnect or self.is_live is False or self.spec.is_local:
            self._end(reason)
            return None
        with self.lock:
            was_open = self.connection.state in ("live", "stalled")
            delay = self.connection.lose(self._clock.monotonic(), reason)
            is_news = was_open or not self._is_reported
            self._is_reported = True
        if is_news:
            _log.warning("%s: %s; trying again until it answers", self.name, reason)
        self._wake()
        return delay

    def _end(self, reason: str = "") -> None:
        """Note that the source has ended for good."""
        with self.lock:
            self.connection.end(self._clock.monotonic(), reason)
        if reason:
            _log.warning("%s: %s", self.name, reason)
        self._wake()
