"""A hub that tests steer, and clients of its web application, with and without a token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from nasion.realtime.live.web.access.hosts import Hosts

from ....support.fakes.hub import FakeHub

if TYPE_CHECKING:
    from starlette.testclient import TestClient

TOKEN = "correct-horse-battery"
BASE, WS = "http://127.0.0.1:8765", "ws://127.0.0.1:8765"

Connect = Callable[..., "TestClient"]


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub("door", "yard")


@pytest.fixture
def connect(hub: FakeHub) -> Iterator[Connect]:
    """Return a function that starts an application and returns a client of it."""
    from starlette.testclient import TestClient  # of the extra web, without which the tests are skipped

    from nasion.realtime.live.web.access.sessions import Access
    from nasion.realtime.live.web.application import application
    from nasion.realtime.live.web.clients import Clients

    started: list[TestClient] = []

    def start(token: str | None = None, *, host: str = "127.0.0.1", names: tuple[str, ...] = ()) -> TestClient:
        access = Access(Hosts(host, frozenset(names)), token)
        client = TestClient(application(hub, access, Clients()), BASE, follow_redirects=False)
        client.__enter__()
        started.append(client)
        return client

    yield start
    for client in started:
        client.__exit__(None, None, None)


@pytest.fixture
def client(connect: Connect) -> TestClient:
    """A client of an application on loopback, which needs no token."""
    return connect()
