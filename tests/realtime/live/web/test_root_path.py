"""The server below a root path, which a proxy removes from requests or leaves in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, OpenerDirector, Request, build_opener

import pytest
from starlette.routing import Route
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from nasion.engines.errors import NasionError
from nasion.realtime.live.web.access.hosts import Hosts
from nasion.realtime.live.web.access.sessions import Access
from nasion.realtime.live.web.application import application
from nasion.realtime.live.web.clients import Clients
from nasion.realtime.live.web.options import Serving
from nasion.realtime.live.web.server import Server
from nasion.realtime.live.web.serving import serve

from ....support.fakes.hub import FakeHub, result
from .conftest import TOKEN
from .test_streams import eventually

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Server, FakeHub]]:
    hub = FakeHub("door")
    with serve(hub, Serving(port=0, token=TOKEN, root_path="/faces")) as started:
        yield started, hub


@pytest.fixture(params=["printed", "as a proxy asks"])
def base(request: pytest.FixtureRequest, server: tuple[Server, FakeHub]) -> str:
    """The address of the page: as printed, and without the root path, as a proxy that removes it asks for it."""
    printed = server[0].address
    assert printed.endswith("/faces/")
    return printed if request.param == "printed" else printed.removesuffix("faces/")


def browser() -> OpenerDirector:
    """An opener that follows redirections and keeps cookies, as browsers do."""
    return build_opener(HTTPCookieProcessor(CookieJar()), HTTPRedirectHandler())


def test_the_page_opens_after_signing_in(base: str) -> None:
    client = browser()
    with pytest.raises(HTTPError) as form:
        client.open(base)
    assert form.value.code == 401
    form.value.close()
    with client.open(urljoin(base, "sign-in"), urlencode({"token": TOKEN}).encode()) as page:
        assert page.url == base
        assert b'src="page.js"' in page.read()
    for name in ("page.js", "page.css", "icon.svg", "api/sources", "metrics", "healthz", "openapi.json"):
        with client.open(urljoin(base, name)) as answer:
            assert answer.status == 200, name
    with pytest.raises(HTTPError) as out:
        client.open(urljoin(base, "sign-out"), b"")
    assert out.value.code == 401  # the form again, at the address of the page
    assert out.value.url == base
    out.value.close()


def test_websockets_and_event_streams_work(base: str, server: tuple[Server, FakeHub]) -> None:
    hub = server[1]
    stream = urljoin(base, "api/sources/door/landmarks")
    with connect(base.replace("http", "ws") + "api/tiles", additional_headers=BEARER) as page:
        assert json.loads(page.recv(timeout=30))["signed_in"] is True
    assert eventually(lambda: hub.open_subscriptions == 0)
    with connect(stream.replace("http", "ws"), additional_headers=BEARER) as socket:
        assert eventually(lambda: hub.open_subscriptions == 1)
        hub.put(result("door", 7))
        assert json.loads(socket.recv(timeout=30))["frame"] == 7
    assert eventually(lambda: hub.open_subscriptions == 0)
    with browser().open(Request(stream, headers=BEARER), timeout=30) as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        assert eventually(lambda: hub.open_subscriptions == 1)
        hub.put(result("door", 8))
        lines = iter(events.readline, b"")
        data = next(line for line in lines if line.startswith(b"data:"))
        assert json.loads(data.removeprefix(b"data:"))["frame"] == 8
    assert eventually(lambda: hub.open_subscriptions == 0)


def test_nothing_but_the_health_is_open_without_a_token(base: str) -> None:
    with browser().open(urljoin(base, "healthz")) as answer:
        assert answer.status == 200
    for path in ("", "metrics", "api/sources", "openapi.json", "healthz/", "healthz/faces/", "faces/api/sources"):
        with pytest.raises(HTTPError) as refused:
            browser().open(base + path)
        assert refused.value.code == 401, path
        refused.value.close()
    with pytest.raises(InvalidStatus) as denied:
        connect(base.replace("http", "ws") + "api/tiles")
    assert denied.value.response.status_code == 401


def test_the_printed_address_needs_no_slash_at_its_end(server: tuple[Server, FakeHub]) -> None:
    address = server[0].address
    with browser().open(Request(address.rstrip("/"), headers=BEARER)) as page:
        assert page.url == address
        assert b'src="page.js"' in page.read()


def test_a_root_path_may_not_be_that_of_a_part_of_the_server(hub: FakeHub) -> None:
    app = application(hub, Access(Hosts("127.0.0.1"), TOKEN), Clients())
    paths = {route.path for route in app._app.routes if isinstance(route, Route)}
    parts = {path.split("/")[1] for path in paths}
    for part in parts:
        if part and not part.endswith((".js", ".css", ".svg")):
            with pytest.raises(NasionError, match="a part of the server"):
                Serving(root_path=f"/{part}")
    assert {"api", "metrics", "healthz"} <= parts
