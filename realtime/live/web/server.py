"""The web server: uvicorn in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn
import websockets  # noqa: F401  # uvicorn imports it at the first WebSocket, too late for a clear error
from h11 import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from ....engines.closing import Closing
from ....engines.errors import NasionError
from ..hub import Hub
from .access.guard import MOST_BYTES
from .access.hosts import Hosts, is_loopback, names_of
from .access.sessions import Access
from .application import application
from .clients import Clients
from .options import Serving, check_certificate

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

_CONNECTIONS = 512  # open at once, pages and streams included
_HEADER_BYTES = 16_384
_PATIENCE = 10.0  # seconds for the first request of a connection, or the rest of one, to arrive
_DEAD = 30_000  # milliseconds after which a connection that takes nothing is closed
_UNSENT = 131_072  # bytes that the system keeps for a client that takes them slowly; more would only be older
_START = 30.0  # seconds for the server to start


class Server(Closing):
    """Web server of a hub. It handles no signals and leaves logging as it is.

    Attributes:
        address: address of the page, such as ``http://127.0.0.1:8765/``.
    """

    def __init__(self, hub: Hub, serving: Serving) -> None:
        """Start the server and wait until it listens.

        Raises:
            NasionError: the address cannot be listened on, or the certificate cannot be used.
        """
        check_certificate(serving)
        sockets = _listen(serving.host, serving.port)
        port = sockets[0].getsockname()[1]
        host = f"[{serving.host}]" if ":" in serving.host else serving.host
        self.address = f"{serving.scheme}://{host}:{port}{serving.root_path}/"
        own = () if is_loopback(serving.host) else ("localhost", socket.gethostname(), f"{socket.gethostname()}.local")
        hosts = Hosts(serving.host, names_of((*own, *serving.allow_host)), is_tls=serving.tls_cert is not None)
        self._clients = Clients()
        config = uvicorn.Config(
            _Below(serving.root_path, application(hub, Access(hosts, serving.token, f"nasion-{port}"), self._clients)),
            http=_Protocol,
            ws=_WebSocket,
            ws_max_size=MOST_BYTES,
            ws_ping_interval=10.0,
            ws_ping_timeout=10.0,
            ws_per_message_deflate=False,  # JPEGs do not become smaller
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
            ssl_certfile=serving.tls_cert,
            ssl_keyfile=serving.tls_key,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=(sockets,), name="nasion-web", daemon=True)
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(_START / 0.01)):
            if self._server.started or not self._thread.is_alive():
                break
            waited.wait(0.01)
        if not self._server.started:
            self.close()
            raise NasionError("the web server did not start; its messages are above")

    def close(self) -> None:
        """Close all connections and stop. Calling it again does nothing."""
        self._clients.close()
        self._server.should_exit = True
        self._thread.join(5.0)


class _Below:
    """Application below a root path, whether a proxy has removed that path from requests or not."""

    def __init__(self, root: str, app: ASGIApp) -> None:
        self._root, self._app = root, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            path = str(scope["path"])
            is_whole = path == self._root or path.startswith(f"{self._root}/")
            scope = {**scope, "root_path": self._root, "path": path if is_whole else self._root + path}
        await self._app(scope, receive, send)


class _Protocol(H11Protocol):
    """HTTP connection that is closed if a request does not arrive in time, which uvicorn would wait for."""

    _timer: asyncio.TimerHandle | None = None
    _is_late = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(_PATIENCE / 2, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_looking()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Request) -> None:
        self._stop_looking()
        super().handle_websocket_upgrade(event)

    def _look(self) -> None:
        """Close the connection if it has waited for a part of a request at two looks in a row."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        is_waiting = not is_answering and self.timeout_keep_alive_task is None  # neither at work nor at rest
        if is_waiting and self._is_late:
            self.transport.abort()
            return
        self._is_late = is_waiting
        self._timer = self.loop.call_later(_PATIENCE / 2, self._look)

    def _stop_looking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _WebSocket(WebSocketsSansIOProtocol):
    """WebSocket that may be refused with a response, which uvicorn otherwise logs as an error of the application."""

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True


def _listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on all addresses of a host.

    Raises:
        NasionError: the host is unknown, or the port is taken or not allowed.
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, address[:2]) for family, _, _, _, address in found):
            sockets.append(socket.create_server(address, family=family, backlog=128))
            port = port or sockets[0].getsockname()[1]
            with suppress(OSError, AttributeError):  # Linux only; elsewhere the system decides when a peer is dead
                sockets[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD)
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT)
    except OSError as error:
        for each in sockets:
            each.close()
        raise NasionError(
            f"the page cannot be served on {host}, port {port}: {error.strerror}; give another address, such as "
            "--serve 127.0.0.1:8766"
        ) from None
    return sockets
