"""Subscriptions to the results of a hub: a bounded queue for each client, in which the newest results win."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Self

from ...engines.closing import AsyncClosing
from ..threads.channels import Channel, ready
from .results import LiveResult

_log = logging.getLogger(__name__)


class Subscription(AsyncClosing):
    """Results of some or all sources, as they happen. Iterate over it with ``for`` or ``async for``.

    Nothing waits for a slow client: its queue is bounded, and each source
    that fills its share loses its oldest result. The iteration ends when the subscription or the hub is closed, and
    when all sources that it names have ended or are removed. It belongs to one client, in one thread or event loop.
    """

    def __init__(
        self, names: Collection[str] = (), *, capacity: int = 4, on_close: Callable[[Subscription], None] | None = None
    ) -> None:
        """Build an open subscription.

        Args:
            names: names of the sources; empty for all, also those that are added later.
            capacity: number of results of each source that wait for the client.
            on_close: called once by ``close``.
        """
        self.names: frozenset[str] = frozenset(names)
        self._results: Channel[LiveResult] = Channel(
            capacity, when_full="drop_oldest", key=lambda result: result.source
        )
        self._on_close = on_close
        self._over: set[str] = set()

    @property
    def dropped(self) -> int:
        """Number of results that newer ones replaced because the client was slower."""
        return self._results.dropped

    @property
    def ready(self) -> bool:
        """True if ``next`` would not wait."""
        return self._results.ready

    def put(self, result: LiveResult) -> None:
        """Queue a result if it is of one of the sources. Called by the hub."""
        if not self.names or result.source in self.names:
            self._results.put(result)

    def get(self, timeout: float | None = None) -> LiveResult:
        """Wait for the next result, ``timeout`` seconds at most.

        Raises:
            TimeoutError: none has come by then.
            StopIteration: the subscription is closed.
        """
        return self._results.get(timeout)

    def __iter__(self) -> Self:
        """Return the subscription itself; each result is returned once."""
        return self

    def __next__(self) -> LiveResult:
        """Wait for the next result.

        Raises:
            StopIteration: the subscription is closed.
        """
        return self.get()

    def __aiter__(self) -> Self:
        """Return the subscription itself; each result is returned once."""
        return self

    async def __anext__(self) -> LiveResult:
        """Wait for the next result without blocking the event loop.

        Raises:
            StopAsyncIteration: the subscription is closed.
        """
        await ready(self._results)
        try:
            return self.get()
        except StopIteration:
            raise StopAsyncIteration from None

    def deliver(self, callback: Callable[[LiveResult], object]) -> None:
        """Call a function with each result until the subscription ends; an error of the function ends it."""
        try:
            for result in self:
                callback(result)
        except Exception:  # noqa: BLE001 - the function is not ours; the others go on
            _log.exception("a callback of nasion.live failed; it is not called again")
        finally:
            self.close()

    def end(self) -> None:
        """Deliver the queued results, then end the iteration. Called by the hub when it closes."""
        self._results.close()

    def begin(self, name: str) -> None:
        """Note that a source has been added. Called by the hub."""
        self._over.discard(name)

    def finish(self, name: str) -> None:
        """Note that a source has ended or is removed; after the last of those that are named, end."""
        self._over.add(name)
        if self.names and self.names <= self._over:
            self.end()

    def close(self) -> None:
        """End the iteration and discard the queue. Any thread may call it; calling it again does nothing."""
        self._results.cancel()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close(self)
