"""The server on loopback, as other programs see it: start and end, attacks on the connection, TLS and slow clients."""

from __future__ import annotations

import http.client
import importlib.util
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from nasion.engines.errors import MissingExtra, NasionError
from nasion.realtime.live.hub import Hub
from nasion.realtime.live.web import server as server_module
from nasion.realtime.live.web.options import Serving
from nasion.realtime.live.web.server import Server
from nasion.realtime.live.web.serving import serve

from ....conftest import ROOT
from ....support.fakes.hub import FakeHub, result
from .conftest import TOKEN
from .test_streams import eventually

VIEW = {"sources": None, "width": 320, "rate": 60, "images": True}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def server(hub: FakeHub) -> Iterator[Server]:
    with serve(hub, Serving(port=0)) as started:
        yield started


def place(server: Server) -> tuple[str, int]:
    parts = urlsplit(server.address)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def get(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """Send a request with the path as it is, and return status and body."""
    connection = http.client.HTTPConnection(*place(server), timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def send(server: Server, text: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes the connection."""
    with socket.create_connection(place(server), timeout=30) as raw:
        raw.sendall(text)
        answer = b""
        while piece := raw.recv(65536):
            answer += piece
        return answer


def last(client: ClientConnection) -> None:
    """Receive until the connection is closed."""
    while True:
        client.recv(timeout=10)


def tiles_of(server: Server, **options: object):
    return connect(server.address.replace("http", "ws") + "api/tiles", **options)


def test_it_listens_until_it_is_closed(hub: FakeHub) -> None:
    server = serve(hub, Serving(port=0))
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", server.address)
    assert get(server, "/healthz") == (200, b'{"status":"ok"}')
    server.close()
    server.close()
    with pytest.raises(OSError, match="refused"):
        get(server, "/healthz")


def test_a_port_that_is_taken_is_reported(server: Server, hub: FakeHub) -> None:
    host, port = place(server)
    with pytest.raises(NasionError, match=rf"cannot be served on {host}, port {port}: .*use.*--serve"):
        serve(hub, Serving(host, port))


def test_a_host_that_does_not_exist_is_reported(hub: FakeHub) -> None:
    with pytest.raises(NasionError, match=r"cannot be served on nosuch\.invalid"):
        serve(hub, Serving("nosuch.invalid", 0, TOKEN))


def test_closing_ends_pages_and_streams_at_once(hub: FakeHub) -> None:
    server = serve(hub, Serving(port=0))
    address = server.address.replace("http", "ws")
    with connect(f"{address}api/tiles") as page, connect(f"{address}api/sources/door/landmarks") as stream:
        page.recv()
        events = http.client.HTTPConnection(*place(server), timeout=10)
        events.request("GET", "/api/sources/door/landmarks")
        answer = events.getresponse()
        assert eventually(lambda: hub.open_subscriptions == 3)
        begin = time.monotonic()
        server.close()
        assert time.monotonic() - begin < 2
        assert answer.read() == b""
        events.close()
        for socket_ in (page, stream):
            with pytest.raises(ConnectionClosed):
                last(socket_)
    assert hub.open_subscriptions == 0


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/..%2fpyproject.toml", "/%2e%2e/%2e%2e/etc/passwd", "/page.css/../../../../etc/passwd",
     "//etc/passwd", "/etc/passwd", "/page/index.html", "/sign-in.html", "/index.html", "/guard.py", "/..\\guard.py",
     "/page.js%00.css", "/%00", "/api/sources/..%2f..%2fetc%2fpasswd", "/api/sources/../../healthz",
     "/api/sources/%2e%2e", "file:///etc/passwd"],
)  # fmt: skip
def test_no_path_leads_out_of_the_page(server: Server, path: str) -> None:
    status, body = get(server, path)
    assert status == 404
    assert b"root:" not in body
    assert b"[project]" not in body
    assert "error" in json.loads(body)


def test_a_request_without_a_host_or_with_two_is_refused(server: Server) -> None:
    assert send(server, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 400")
    host = f"Host: {':'.join(map(str, place(server)))}\r\n".encode()
    two = b"GET / HTTP/1.1\r\n" + host + b"Host: evil.example\r\nConnection: close\r\n\r\n"
    assert send(server, two)[9:12] in (b"400", b"421")
    evil = b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert send(server, evil).startswith(b"HTTP/1.1 421")
    absolute = b"GET http://evil.example/ HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n"
    assert send(server, absolute).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n",
    ],
    ids=["large header", "long path", "TLS", "nonsense", "two lengths", "smuggling"],
)
def test_requests_that_are_none_are_refused(server: Server, text: bytes) -> None:
    assert send(server, text).startswith(b"HTTP/1.1 4")
    assert get(server, "/healthz")[0] == 200


def test_a_connection_that_sends_its_request_too_slowly_is_closed(hub: FakeHub, monkeypatch) -> None:
    monkeypatch.setattr(server_module, "_PATIENCE", 0.2)
    with serve(hub, Serving(port=0)) as server:
        assert send(server, b"") == b""
        assert send(server, b"GET / HTTP/1.1\r\nX: ") == b""
        with tiles_of(server) as page:  # a WebSocket is not such a connection
            page.recv()
            time.sleep(0.5)
            page.recv(timeout=5)


def test_a_body_that_does_not_come_is_not_waited_for(server: Server, monkeypatch) -> None:
    monkeypatch.setattr("nasion.realtime.live.web.control._PATIENCE", 0.1)
    host = ":".join(map(str, place(server)))
    head = f"POST /api/sources HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    answer = send(server, f"{head}Connection: close\r\nContent-Length: 500\r\n\r\n{{".encode())
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_page_of_another_origin_cannot_open_a_websocket(server: Server) -> None:
    for origin in ("http://evil.example", "null"):
        with pytest.raises(InvalidStatus) as caught:
            tiles_of(server, origin=origin)
        assert caught.value.response.status_code == 403
    with tiles_of(server, origin=server.address.rstrip("/")) as page:
        assert json.loads(page.recv())["type"] == "hello"


def test_a_large_message_closes_the_websocket(server: Server) -> None:
    with tiles_of(server) as page:
        page.send("x" * 20_000)
        with pytest.raises(ConnectionClosed) as caught:
            last(page)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


def test_a_client_that_takes_nothing_holds_neither_the_others_nor_the_hub(server: Server, hub: FakeHub) -> None:
    """One client never reads, and its socket fills up; another gets each frame all the same."""
    host = ":".join(map(str, place(server)))
    with socket.socket() as dead, tiles_of(server) as page:
        dead.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        dead.connect(place(server))
        dead.sendall(f"GET /api/sources/door/landmarks HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        page.send(json.dumps({"view": {**VIEW, "images": False}}))
        assert eventually(lambda: hub.open_subscriptions == 2)
        for index in range(100):  # 15 kB each, more than the buffers of a connection hold
            sent = result("door", index, faces=10)
            begin = time.monotonic()
            hub.put(sent)
            assert time.monotonic() - begin < 1  # the hub never waits
            while isinstance(message := page.recv(timeout=10), str):
                pass
            header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
            assert header["frame"] == index
            page.send(json.dumps({"seen": header["tile"]}))
        metrics = get(server, "/metrics")[1].decode()
    waiting = re.search(r"nasion_clients{kind=\"stream\"} (\S+)", metrics)
    assert waiting is not None
    assert float(waiting[1]) == 1
    assert any(hub.dropped_by_clients)


def test_everything_but_health_needs_the_token_also_on_loopback(hub: FakeHub, caplog) -> None:
    with serve(hub, Serving(port=0, token=TOKEN)) as server:
        assert get(server, "/healthz")[0] == 200
        for path in ("/", "/metrics", "/api/sources", "/page.js", "/nothing"):
            assert get(server, path)[0] == 401
            assert get(server, f"{path}?token={TOKEN}")[0] == 401
        assert get(server, "/api/sources", **BEARER)[0] == 200
        with pytest.raises(InvalidStatus) as caught:
            tiles_of(server)
        assert caught.value.response.status_code == 401
        with tiles_of(server, additional_headers=BEARER) as page:
            assert json.loads(page.recv())["signed_in"] is True
    assert not caplog.records  # a refused WebSocket does not log an error


def test_neither_tokens_nor_passwords_are_logged(hub: FakeHub, caplog, capfd) -> None:
    caplog.set_level("DEBUG")
    secret = "rtsp://admin:hunter2@camera.local/live"
    with serve(hub, Serving(port=0, token=TOKEN)) as server:
        get(server, "/api/sources", **BEARER)
        get(server, f"/nothing?token={TOKEN}")
        get(server, "/api/sources", Authorization="Bearer wrong-horse-battery")
        connection = http.client.HTTPConnection(*place(server), timeout=10)
        body = json.dumps({"source": secret, "name": "a"})
        connection.request("POST", "/api/sources", body, {"Content-Type": "application/json", **BEARER})
        assert connection.getresponse().status == 201
        connection.close()
    written = caplog.text + "".join(capfd.readouterr())
    for text in (TOKEN, "wrong-horse", "hunter2"):
        assert text not in written


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate of this test, is not installed")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *subject, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def test_with_a_certificate_the_page_is_served_over_tls(hub: FakeHub, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with serve(hub, Serving(port=0, token=TOKEN, tls_cert=cert, tls_key=key)) as server:
        assert server.address.startswith("https://")
        trusted = ssl.create_default_context(cafile=cert)
        connection = http.client.HTTPSConnection(*place(server), timeout=10, context=trusted)
        form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": server.address.rstrip("/")}
        connection.request("POST", "/sign-in", f"token={TOKEN}", form)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 303
        assert "Secure" in answer.headers["Set-Cookie"]
        connection.close()
        address = server.address.replace("https", "wss") + "api/tiles"
        with connect(address, ssl=trusted, additional_headers=BEARER) as page:
            assert json.loads(page.recv())["type"] == "hello"
        with pytest.raises((OSError, http.client.HTTPException)):
            get(server, "/healthz")


def test_a_certificate_that_cannot_be_used_is_reported(hub: FakeHub, certificate, tmp_path: Path) -> None:
    cert, key = certificate
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no key")
    with pytest.raises(NasionError, match="no certificate with its key"):
        serve(hub, Serving(port=0, tls_cert=cert, tls_key=wrong))
    with pytest.raises(NasionError, match=r"none\.pem cannot be read"):
        serve(hub, Serving(port=0, tls_cert=tmp_path / "none.pem", tls_key=key))


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("0.0.0.0:8765", {}, "can be reached from other machines, so a token is needed"),
        ("camera-server:80", {}, "a token is needed"),
        ("[::]:80", {}, "a token is needed"),
        ("8765", {"allow_host": ["faces.example.org"]}, "so a token is needed"),
        ("127.0.0.1:99999", {}, "65535"),
        ("nonsense", {}, "is not an address"),
        ("http://127.0.0.1:80/", {}, "is not an address"),
        ("8765", {"tls_cert": Path("a")}, "belong together"),
        ("8765", {"root_path": "faces"}, "root path"),
        ("8765", {"root_path": "/a/../b c"}, "root path"),
        ("8765", {"root_path": "/api/faces"}, "a part of the server"),
        ("8765", {"token_file": Path("none.txt")}, r"none\.txt cannot be read"),
    ],
)
def test_options_that_are_not_allowed(monkeypatch, text: str, options: dict[str, object], said: str) -> None:
    monkeypatch.delenv("NASION_TOKEN", raising=False)
    with pytest.raises(NasionError, match=said):
        Serving.of(text, **options)


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NASION_TOKEN", "from-the-environment")
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert Serving.of("0.0.0.0:80").token == "from-the-environment"
    given = Serving.of("[::1]:80", token_file=file, root_path="/faces/")
    assert (given.host, given.port, given.token, given.root_path) == ("::1", 80, TOKEN, "/faces")
    assert TOKEN not in repr(given)
    for text in ("short", "with a space in the token", ""):
        file.write_text(text)
        with pytest.raises(NasionError, match="holds no token") as caught:
            Serving.of("80", token_file=file)
        assert not text or text not in str(caught.value)
    monkeypatch.setenv("NASION_TOKEN", "hunter2")
    with pytest.raises(NasionError, match="16 to 512") as caught:
        Serving.of("80")
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("NASION_TOKEN", "")
    assert Serving.of("80").token is None


def test_without_the_extra_the_message_names_it(monkeypatch) -> None:
    original = importlib.util.find_spec
    monkeypatch.setattr(
        "nasion.realtime.live.web.options.find_spec", lambda name: None if name == "uvicorn" else original(name)
    )
    with pytest.raises(MissingExtra, match=r"--serve needs uvicorn.*nasion\[web\]"):
        Serving.of("8765")


def test_the_hub_and_the_options_need_no_extra() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['starlette', 'uvicorn', 'websockets', 'prometheus_client']));"
        "import nasion.realtime.live.hub, nasion.realtime.live.web.serving, nasion.tools.commands.live"
    )
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_with_a_hub_and_its_networks(tmp_path: Path) -> None:
    with Hub() as hub, serve(hub, Serving(port=0)) as server:
        hub.add("pattern:live?seconds=60", name="door", max_fps=5)
        with connect(server.address.replace("http", "ws") + "api/sources/door/landmarks", open_timeout=10) as stream:
            got = json.loads(stream.recv(timeout=60))
        assert got["source"] == "door"
        assert len(got["faces"]) == 1
        assert len(got["faces"][0]["landmarks"]) == 68
