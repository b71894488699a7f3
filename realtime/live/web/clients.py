"""Clients that stay connected: pages and streams, counted and limited."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from ..subscriptions import Subscription

Kind = Literal["page", "stream"]
"""Kind of a client."""

MOST_CLIENTS = 64
"""Largest number of pages and streams together."""


class Clients:
    """Open pages and streams of a server. Used in one thread; ``close`` and the counters in any.

    Attributes:
        tiles: number of images sent to pages.
        dropped: number of results that newer ones replaced in the queues of slow streams.
    """

    def __init__(self) -> None:
        """Start without clients."""
        self._open: dict[Kind, list[Subscription]] = {kind: [] for kind in get_args(Kind)}
        self._is_closed = False
        self.tiles = self.dropped = 0

    @property
    def is_full(self) -> bool:
        """True if no further client is allowed."""
        return self._is_closed or sum(map(len, self._open.values())) >= MOST_CLIENTS

    @contextmanager
    def one(self, kind: Kind, subscription: Subscription) -> Iterator[None]:
        """Count a client within the ``with`` block, and close its subscription at the end of it."""
        self._open[kind].append(subscription)
        try:
            with subscription:
                yield
        finally:
            self._open[kind].remove(subscription)

    def counts(self) -> dict[Kind, int]:
        """Return the number of clients of each kind."""
        return {kind: len(subscriptions) for kind, subscriptions in self._open.items()}

    def close(self) -> None:
        """Close the subscriptions of all clients, so that they end."""
        self._is_closed = True
        for subscription in [each for subscriptions in self._open.values() for each in subscriptions]:
            subscription.close()
