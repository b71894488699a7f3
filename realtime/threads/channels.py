"""Bounded channels between threads that either end can close."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Generic, Literal, Self, TypeVar, get_args

T = TypeVar("T")
WhenFull = Literal["wait", "drop_oldest"]


class Channel(Generic[T]):
    """Bounded queue between senders and one receiver, which iterates over it.

    The sender ends it with ``close``: queued items are still delivered, then the iteration ends or raises the error
    passed to ``close``. The receiver ends it with ``cancel``: queued items are discarded and ``put`` returns False.
    Waiting does not poll.
    """

    def __init__(
        self, capacity: int, *, when_full: WhenFull = "wait", key: Callable[[T], Hashable] = lambda item: None
    ) -> None:
        """Build an open channel.

        Args:
            capacity: number of items, for each key, at which the channel is full.
            when_full: wait in ``put``, or drop the oldest item of the same key.
            key: returns the key of an item.

        Raises:
            ValueError: ``capacity`` is below 1, or ``when_full`` is unknown.
        """
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; it must be at least 1")
        if when_full not in get_args(WhenFull):
            raise ValueError(f"when_full is {when_full!r}; allowed: {', '.join(get_args(WhenFull))}")
        self._capacity = capacity
        self._drops = when_full == "drop_oldest"
        self._key = key
        self._items: deque[T] = deque()
        self._counts: Counter[Hashable] = Counter()
        self._closed = False
        self._error: BaseException | None = None
        self._dropped = 0
        self._on_ready: list[Callable[[], None]] = []
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._emptied = threading.Condition(lock)

    @property
    def dropped(self) -> int:
        """Number of items dropped so far because the receiver was slower than the sender."""
        return self._dropped

    def __len__(self) -> int:
        """Return the number of queued items."""
        return len(self._items)

    def put(self, item: T) -> bool:
        """Queue an item and return True, or return False if the channel is closed."""
        with self._emptied:
            key = self._key(item)
            while not self._closed and not self._drops and self._counts[key] >= self._capacity:
                self._emptied.wait()
            if self._closed:
                return False
            if self._counts[key] >= self._capacity:
                oldest = next(i for i, each in enumerate(self._items) if self._key(each) == key)
                del self._items[oldest]
                self._dropped += 1
            else:
                self._counts[key] += 1
            self._items.append(item)
            self._filled.notify()
            self._call_back()
            return True

    def close(self, error: BaseException | None = None) -> None:
        """Close the channel from the sender's end; ``error`` is raised in the receiver after the last item.

        Has no effect on a channel that is already closed.
        """
        with self._filled:
            if not self._closed:
                self._closed, self._error = True, error
            self._wake()

    def cancel(self) -> None:
        """Close the channel from the receiver's end and discard queued items and the error."""
        with self._filled:
            self._closed, self._error = True, None
            self._items.clear()
            self._counts.clear()
            self._wake()

    @property
    def ready(self) -> bool:
        """True if ``next`` would not wait: an item is queued, or the channel is closed."""
        return bool(self._items) or self._closed

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once ``next`` would not wait: at once, or later in the thread of the sender.

        The callback must not use the channel.
        """
        with self._filled:
            self._on_ready.append(callback)
            if self.ready:
                self._call_back()

    def forget(self, callback: Callable[[], None]) -> None:
        """Drop a callback of ``when_ready`` that has not been called."""
        with self._filled:
            if callback in self._on_ready:
                self._on_ready.remove(callback)

    def _wake(self) -> None:
        self._filled.notify_all()
        self._emptied.notify_all()
        self._call_back()

    def _call_back(self) -> None:
        while self._on_ready:
            self._on_ready.pop()()

    def __iter__(self) -> Self:
        """Return the channel itself; each item is delivered once."""
        return self

    def __next__(self) -> T:
        """Wait for the next item.

        Raises:
            StopIteration: the channel is closed and empty.
            BaseException: the error passed to ``close``, once.
        """
        return self.get()

    def get(self, timeout: float | None = None) -> T:
        """Wait for the next item, ``timeout`` seconds at most.

        Raises:
            TimeoutError: none has come by then.
            StopIteration: the channel is closed and empty.
            BaseException: the error passed to ``close``, once.
        """
        with self._filled:
            if not self._filled.wait_for(lambda: self._items or self._closed, timeout):
                raise TimeoutError
            if self._items:
                item = self._items.popleft()
                key = self._key(item)
                self._counts[key] -= 1
                if not self._counts[key]:
                    del self._counts[key]
                self._emptied.notify_all()
                return item
            error, self._error = self._error, None
        if error is None:
            raise StopIteration
        try:
            raise error
        finally:
            del error  # a traceback that refers to its own error would keep video frames alive


async def ready(channel: Channel[Any]) -> None:
    """Wait in the event loop until ``next`` of a channel would not wait."""
    if channel.ready:
        return
    import asyncio  # whoever waits has imported it; others need not wait for that

    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def call() -> None:
        with suppress(RuntimeError):  # the loop has been closed, so nothing waits in it
            loop.call_soon_threadsafe(event.set)

    channel.when_ready(call)
    try:
        await event.wait()
    finally:
        channel.forget(call)
