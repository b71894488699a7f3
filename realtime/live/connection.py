"""Connection of a source: its states, and the delays between attempts to restore it; without threads or clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from .status import State

STEADY = 5.0
"""Seconds after which a connection counts as good, so that the next loss begins with the shortest delay."""


class BackOff:
    """Delays between attempts to connect: doubled each time up to a limit, with jitter.

    Each delay is drawn from the upper half of its range, so that sources lost together do not return together.
    """

    def __init__(self, first: float = 0.5, most: float = 4.0, random: Random | None = None) -> None:
        """Start with the shortest delay.

        Args:
            first: longest delay before the first attempt, in seconds.
            most: longest delay before any attempt, in seconds.
            random: source of the jitter.
        """
        self._first, self._most, self._random = first, most, random or Random()
        self._attempts = 0

    def delay(self) -> float:
        """Return the seconds to wait before the next attempt."""
        longest = min(self._first * 2**self._attempts, self._most)
        self._attempts = min(self._attempts + 1, 32)
        return self._random.uniform(longest / 2, longest)

    def reset(self) -> None:
        """Start again with the shortest delay."""
        self._attempts = 0


@dataclass(slots=True)
class Connection:
    """State of the connection to a source. All times are in seconds of one clock.

    Attributes:
        back_off: delays between attempts.
        state: what the source does.
        reason: why it is stalled, reconnecting or ended; empty otherwise.
        since: time at which the state began.
        next_attempt: time of the next attempt, in state ``reconnecting``.
        number: number of connections so far.
        losses: number of lost connections.
        reconnects: number of lost connections that were restored.
        last_frame: time of the newest frame of this connection, or of its beginning.
    """

    back_off: BackOff = field(default_factory=BackOff)
    state: State = "connecting"
    reason: str = ""
    since: float = 0.0
    next_attempt: float | None = None
    number: int = 0
    losses: int = 0
    reconnects: int = 0
    last_frame: float = 0.0
    _opened: float = 0.0
    _is_lost: bool = False

    def attempt(self, now: float) -> None:
        """Begin an attempt to connect; the reason of the last failure stays visible."""
        self._enter("connecting", now, self.reason)

    def open(self, now: float) -> bool:
        """Note that the source is open, and return True if that restored a lost connection."""
        restored, self._is_lost = self._is_lost, False
        self.number += 1
        self.reconnects += restored
        self._opened = self.last_frame = now
        self._enter("live", now)
        return restored

    def frame(self, now: float) -> bool:
        """Note a frame, and return True if it ended a stall."""
        self.last_frame = now
        if now - self._opened >= STEADY:
            self.back_off.reset()
        if self.state != "stalled":
            return False
        self._enter("live", now)
        return True

    def stall(self, now: float) -> None:
        """Note that no frame has come for a while."""
        self._enter("stalled", now, f"no frame for {now - self.last_frame:.1f} s")

    def lose(self, now: float, reason: str) -> float:
        """Note a lost connection or a failed attempt, and return the seconds until the next attempt."""
        if self.state in ("live", "stalled"):
            self.losses += 1
            self._is_lost = True
        delay = self.back_off.delay()
        self._enter("reconnecting", now, reason)
        self.next_attempt = now + delay
        return delay

    def pause(self, now: float) -> None:
        """Note that the user has paused the source."""
        self._enter("paused", now)

    def resume(self, now: float) -> None:
        """Note that the user has resumed the source, whose connection is still open."""
        self.last_frame = now
        self._enter("live", now)

    def end(self, now: float, reason: str = "") -> None:
        """Note that the source has ended for good."""
        self._enter("ended", now, reason)

    def _enter(self, state: State, now: float, reason: str = "") -> None:
        if state != self.state:
            self.since = now
        self.state, self.reason, self.next_attempt = state, reason, None
