"""Limits on what one client may send: requests a second, and bytes of a body."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive


class Rate:
    """Token bucket: ``burst`` events at once, and ``per_second`` more for each second that passes."""

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = monotonic) -> None:
        """Start with a full bucket."""
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left, self._at = burst, clock()

    def take(self) -> bool:
        """Count one event and return True, or return False if there were too many."""
        self._refill()
        if self._left < 1:
            return False
        self._left -= 1
        return True

    @property
    def wait(self) -> float:
        """Seconds until the next event is allowed."""
        self._refill()
        return max(1 - self._left, 0.0) / self._per_second

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now


class Rates:
    """A ``Rate`` for each client address; of too many addresses, the one unused for longest is forgotten."""

    def __init__(
        self, per_second: float, burst: float, *, most: int = 1024, clock: Callable[[], float] = monotonic
    ) -> None:
        """Prepare, without any address."""
        self._per_second, self._burst, self._most, self._clock = per_second, burst, most, clock
        self._rates: OrderedDict[str, Rate] = OrderedDict()

    def of(self, address: str) -> Rate:
        """Return the rate of an address."""
        rate = self._rates.pop(address, None) or Rate(self._per_second, self._burst, self._clock)
        self._rates[address] = rate
        if len(self._rates) > self._most:
            self._rates.popitem(last=False)
        return rate


def limited(receive: Receive, most: int) -> Receive:
    """Return ``receive`` that refuses a body of more than ``most`` bytes, whatever length the client has announced."""
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > most:
                raise too_large(most)
        return message

    return receive_limited


def too_large(most: int) -> HTTPException:
    """Return the error for a body of more than ``most`` bytes."""
    return HTTPException(413, f"the body is too large; at most {most} bytes are allowed")
