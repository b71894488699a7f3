"""Requests that the guard refuses: of other hosts and origins, without the token, too many and too large ones."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from nasion.realtime.live.web.access import guard
from nasion.realtime.live.web.access import sessions as access
from nasion.realtime.live.web.access.hosts import Hosts, is_loopback
from nasion.realtime.live.web.access.sessions import Access, Sessions
from nasion.realtime.live.web.metrics import Metrics

from .conftest import BASE, TOKEN, WS, Connect

PATHS = ("/", "/page.js", "/icon.svg", "/metrics", "/openapi.json", "/api/sources", "/api/sources/door", "/sign-in",
         "/api/sources/door/landmarks", "/nothing", "/healthz/..", "/docs")  # fmt: skip
SOCKETS = ("/api/tiles", "/api/sources/door/landmarks", "/nothing")
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def slow_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow no guess after the first ten, so that the speed of the machine does not count."""
    monkeypatch.setattr(access, "_GUESSES", 1e-6)


def denied(client: TestClient, path: str, **headers: str) -> int:
    """Return the status with which a WebSocket is refused."""
    with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect(WS + path, headers=headers):
        pass
    return caught.value.status_code


def test_the_page_and_its_files_are_served_on_loopback_without_a_token(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for path in ("/page.css", "/page.js", "/tile.js", "/icon.svg"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/nothing", "/api/sources", "/healthz", "/metrics", "/api/sources/none"])
def test_every_answer_has_the_security_headers(client: TestClient, connect: Connect, path: str) -> None:
    for answer in (client.get(path), connect(TOKEN).get(path), client.get(path, headers={"host": "evil.example"})):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def test_an_error_of_ours_has_the_headers_too_and_tells_nothing(connect: Connect, monkeypatch) -> None:
    monkeypatch.setattr(Metrics, "text", lambda self: 1 / 0)
    client = connect()
    client._transport.raise_server_exceptions = False  # as a server answers
    answer = client.get("/metrics")
    assert answer.status_code == 500
    assert "ZeroDivision" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_all_but_health_is_refused(connect: Connect, path: str) -> None:
    client = connect(TOKEN)
    for method in ("GET", "POST", "DELETE", "PATCH", "OPTIONS"):
        if (method, path) != ("POST", "/sign-in"):
            answer = client.request(method, path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("path", SOCKETS)
def test_without_the_token_no_websocket_opens(connect: Connect, path: str) -> None:
    assert denied(connect(TOKEN), path) == 401


def test_the_refused_page_is_the_form_and_loads_nothing_else(connect: Connect) -> None:
    form = connect(TOKEN).get("/").text
    assert '<form method="post" action="sign-in">' in form
    assert 'type="password"' in form
    assert "src=" not in form
    assert "href=" not in form


def test_the_token_is_taken_from_the_header_alone(connect: Connect) -> None:
    client = connect(TOKEN)
    assert client.get("/api/sources", headers=BEARER).status_code == 200
    assert client.get("/api/sources", headers={"authorization": f"bearer  {TOKEN} "}).status_code == 200
    assert client.get(f"/api/sources?token={TOKEN}&access_token={TOKEN}").status_code == 401
    assert client.get("/api/sources", headers={"authorization": f"Basic {TOKEN}"}).status_code == 401
    assert client.get("/api/sources", headers={"authorization": TOKEN}).status_code == 401


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr(access.secrets, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or a == b)
    rules = Access(Hosts("127.0.0.1"), TOKEN)
    assert rules.is_token(TOKEN)
    assert not rules.is_token("x")
    assert not rules.is_token("\udcff")
    assert compared == [(32, 32)] * 3  # digests, so that not even the length shows


def test_guesses_are_limited_but_not_those_of_another_address(connect: Connect, slow_guesses: None) -> None:
    client = connect(TOKEN)
    wrong = [client.get("/api/sources", headers={"authorization": "Bearer wrong"}).status_code for _ in range(12)]
    assert wrong == [401] * 10 + [429] * 2
    answer = client.get("/api/sources", headers={"authorization": "Bearer wrong"})
    assert int(answer.headers["retry-after"]) >= 1
    assert client.get("/api/sources", headers=BEARER).status_code == 200  # a program with an old token keeps none out
    other = TestClient(client.app, BASE, client=("10.0.0.9", 50000))
    assert other.get("/api/sources", headers=BEARER).status_code == 200


def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_cannot_use(connect: Connect) -> None:
    client = connect(TOKEN)
    answer = client.post("/sign-in", data={"token": TOKEN}, headers={"origin": BASE})
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=" not in cookie  # that of the form, also below a proxy
    assert "secure" not in cookie.replace("samesite", "")  # over http
    assert TOKEN not in cookie
    assert client.get("/").status_code == 200
    with client.websocket_connect(f"{WS}/api/tiles") as socket:
        assert socket.receive_json()["signed_in"] is True
    assert client.post("/sign-out", headers={"origin": BASE}).status_code == 303
    assert client.get("/").status_code == 401


def test_the_cookie_of_a_page_over_tls_is_never_sent_without(connect: Connect) -> None:
    client = connect(TOKEN, names=("faces.example.org",))
    headers = {"host": "faces.example.org", "origin": "https://faces.example.org"}
    answer = client.post("/sign-in", data={"token": TOKEN}, headers=headers)
    assert "; Secure" in answer.headers["set-cookie"]


def test_a_wrong_token_shows_the_form_again_and_is_limited(connect: Connect, slow_guesses: None) -> None:
    client = connect(TOKEN)
    answer = client.post("/sign-in", data={"token": "<script>alert(1)</script>"})
    assert answer.status_code == 401
    assert "This is not the token." in answer.text
    assert "alert(1)" not in answer.text
    assert "set-cookie" not in answer.headers
    more = [client.post("/sign-in", data={"token": "wrong"}).status_code for _ in range(11)]
    assert more == [401] * 9 + [429] * 2
    assert client.get("/api/sources", headers=BEARER).status_code == 200  # other requests go on


def test_sessions_end_unused_ones_first() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    first = sessions.begin()
    now[0] = access.LIFETIME - 1
    assert sessions.has(first)
    now[0] = 2 * access.LIFETIME - 2
    assert sessions.has(first)  # each use begins its time again
    now[0] = 3 * access.LIFETIME
    assert not sessions.has(first)
    kept = sessions.begin()
    for _ in range(access._MOST_SESSIONS):
        sessions.begin()
    assert not sessions.has(kept)
    assert not sessions.has("made up")


@pytest.mark.parametrize(
    ("bound", "names", "host", "is_allowed"),
    [
        ("127.0.0.1", (), "127.0.0.1:8765", True),
        ("127.0.0.1", (), "localhost:8765", True),
        ("127.0.0.1", (), "LOCALHOST", True),
        ("127.0.0.1", (), "[::1]:8765", True),
        ("127.0.0.1", (), "evil.example", False),
        ("127.0.0.1", (), "localhost.evil.example", False),
        ("127.0.0.1", (), "127.0.0.1.evil.example", False),
        ("127.0.0.1", (), "192.168.0.5:8765", False),
        ("127.0.0.1", (), "", False),
        ("127.0.0.1", (), "127.0.0.1:x", False),
        ("127.0.0.1", (), "user@127.0.0.1", False),
        ("127.0.0.1", (), "127.0.0.1/x", False),
        ("127.0.0.1", ("faces.example.org",), "faces.example.org", True),
        ("0.0.0.0", (), "192.168.0.5:8765", True),
        ("0.0.0.0", (), "evil.example", False),
        ("camera-server", (), "camera-server:8765", True),
        ("camera-server", (), "camera-server.", True),
    ],
)
def test_requests_name_a_host_of_the_server(bound: str, names: tuple[str, ...], host: str, is_allowed: bool) -> None:
    assert Hosts(bound, frozenset(names)).allow(host) is is_allowed


def test_a_request_for_another_host_is_refused(client: TestClient) -> None:
    for path in ("/", "/healthz", "/metrics"):
        assert client.get(path, headers={"host": "evil.example"}).status_code == 421
    assert denied(client, "/api/tiles", host="evil.example") == 421
    assert client.get("/", headers=[("host", "127.0.0.1"), ("host", "evil.example")]).status_code == 421


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        (BASE, True),
        ("http://127.0.0.1", False),
        ("http://127.0.0.1:8766", False),
        ("http://localhost:8765", False),
        ("https://evil.example", False),
        ("http://127.0.0.1:8765.evil.example", False),
        ("null", False),
        ("", False),
        ("file://", False),
        ("chrome-extension://127.0.0.1:8765", False),
    ],
)
def test_pages_of_other_origins_can_do_nothing(client: TestClient, origin: str, is_allowed: bool) -> None:
    headers = {"origin": origin}
    body = {"source": "pattern:live", "name": "new"}
    assert client.post("/api/sources", json=body, headers=headers).status_code == (201 if is_allowed else 403)
    assert client.get("/api/sources", headers=headers).status_code == (200 if is_allowed else 403)
    if is_allowed:
        with client.websocket_connect(f"{WS}/api/tiles", headers=headers) as socket:
            assert socket.receive_json()["type"] == "hello"
    else:
        assert denied(client, "/api/tiles", **headers) == 403
        assert denied(client, "/api/sources/door/landmarks", **headers) == 403


def test_with_tls_a_page_without_is_another_origin() -> None:
    hosts = Hosts("10.0.0.1", frozenset(), is_tls=True)
    assert hosts.allow_origin("https://10.0.0.1:8765", "10.0.0.1:8765")
    assert hosts.allow_origin("https://10.0.0.1", "10.0.0.1:443")
    assert not hosts.allow_origin("http://10.0.0.1:8765", "10.0.0.1:8765")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_can_link_to_the_page_but_not_embed_its_parts(client: TestClient, site: str) -> None:
    fetched = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    assert client.get("/icon.svg", headers=fetched).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": site, "sec-fetch-mode": "navigate"}).status_code == 200
    assert client.get("/", headers={"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}).status_code == 200


def test_a_large_body_is_refused_whatever_its_length_says(client: TestClient) -> None:
    big = b" " * (guard.MOST_BYTES + 1)
    headers = {"content-type": "application/json"}
    assert client.post("/api/sources", content=big, headers=headers).status_code == 413
    assert client.post("/api/sources", content=iter([big[:9000], big[9000:]]), headers=headers).status_code == 413
    assert client.post("/sign-in", content=iter([big])).status_code == 413


def test_requests_of_one_address_are_limited(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_REQUESTS", 1e-6)  # per second, so that the speed of the machine does not count
    client = connect()
    assert [client.get("/healthz").status_code for _ in range(203)] == [200] * 200 + [429] * 3
    assert TestClient(client.app, BASE, client=("127.0.0.2", 1)).get("/healthz").status_code == 200


def test_loopback_addresses_are_known() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.9.1", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "localhost.evil.example", "")))
