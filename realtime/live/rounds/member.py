"""Member of a hub: a source with its feed, its tracker, its recorder, and what is known of its results."""

from __future__ import annotations

import logging

from ....engines.errors import NasionError
from ...faces.face import Face
from ...faces.frame import Frame
from ...tracking.state import Tracking
from ..feed import Captured, Clock, Feed
from ..recording import Recorder
from ..results import LiveResult
from ..status import SourceStatus
from .meters import Meter
from .region import moved, outside, part

_log = logging.getLogger(__name__)


class Member:
    """A source of a hub.

    Attributes:
        feed: its feed.
        recorder: recorder of its frames; None if they are not recorded.
        frames: number of tracked frames.
        is_over: True if it has ended, with all its results delivered.
        newest: its newest result; None before the first.
    """

    def __init__(self, feed: Feed, tracking: Tracking, recorder: Recorder | None, now: float) -> None:
        """Build a member that nothing is known of at the time ``now``."""
        self.feed, self.recorder = feed, recorder
        self.frames = 0
        self.is_over = False
        self.newest: LiveResult | None = None
        self._tracking, self._meter = tracking, Meter(now)
        self._identities = self._last_id = self._connection = 0

    def take(self) -> Captured | None:
        """Return the newest frame if one waits. A region of interest outside the image ends the source."""
        captured = self.feed.take()
        if captured is not None and (problem := outside(self.feed.spec.roi, captured.frame)):
            self.feed.fail(problem, for_good=True)
            return None
        return captured

    def prepared(self, captured: Captured) -> tuple[Tracking, Frame]:
        """Return the tracker and the frame, or the part of it, to track."""
        if captured.connection != self._connection:
            if self._connection:
                self._tracking.reset()
            self._connection = captured.connection
        roi = self.feed.spec.roi
        return self._tracking, captured.frame if roi is None else part(captured.frame, roi)

    def result(self, captured: Captured, faces: list[Face], now: float, wall: float) -> LiveResult:
        """Return the result of a tracked frame, and count it.

        Args:
            captured: the frame.
            faces: its faces, in the region of interest.
            now: monotonic time.
            wall: wall-clock time at the monotonic time 0.
        """
        roi = self.feed.spec.roi
        if roi is not None:
            faces = [moved(face, roi[0], roi[1]) for face in faces]
        latency = now - captured.at
        self.frames += 1
        self._meter.add(now, latency)
        self._identities += sum(face.id > self._last_id for face in faces)
        self._last_id = max(self._last_id, *(face.id for face in faces), 0)
        self.newest = LiveResult(
            self.feed.name, captured.frame, faces, wall + captured.at, latency, captured.connection
        )
        return self.newest

    def fail(self, error: Exception) -> None:
        """Give the connection up because a frame cannot be tracked; of foreign errors it gives only the kind."""
        _log.debug("%s", self.feed.name, exc_info=error)
        ours = isinstance(error, NasionError)
        self.feed.fail(str(error) if ours else f"a frame cannot be tracked ({type(error).__name__})")

    def record(self, result: LiveResult) -> None:
        """Record the frame of a result, if the source is recorded."""
        if self.recorder is not None:
            self.recorder.put(result)

    def end_recording(self) -> None:
        """End the recording, if there is one."""
        if self.recorder is not None:
            self.recorder.end()

    def join_recording(self, timeout: float) -> None:
        """Wait until the recording is written, ``timeout`` seconds at most."""
        if self.recorder is not None:
            self.recorder.join(timeout)

    def status(self, clock: Clock) -> SourceStatus:
        """Return the status of the source."""
        feed, newest, now = self.feed, self.newest, clock.monotonic()
        wall = clock.wall() - now
        with feed.lock:
            connection = feed.connection
            following = connection.next_attempt
            return SourceStatus(
                name=feed.name, address=feed.spec.address, state=connection.state, reason=connection.reason,
                since=wall + connection.since, next_attempt=None if following is None else wall + following,
                is_live=feed.is_live, rate=feed.rate, fps=self._meter.rate(now), frames=self.frames,
                received=feed.received, dropped=feed.dropped, skipped=feed.skipped,
                damaged=feed.damaged,
                losses=connection.losses, reconnects=connection.reconnects, identities=self._identities,
                width=newest.frame.width if newest else 0, height=newest.frame.height if newest else 0,
                faces=len(newest.faces) if newest else 0, index=newest.frame.index if newest else None,
                time=newest.frame.time if newest else None, captured=newest.captured if newest else None,
                latency=self._meter.latency(now), recording=None if self.recorder is None else self.recorder.status(),
            )  # fmt: skip
