"""WebSocket of the page: the tiles of all sources, their status, history and events on one connection.

The server sends JSON texts and binary tiles. A tile is the length of its header as 32-bit little-endian integer, the
header in JSON (a result with ``tile``, the number of the tile, and ``scheme``), and the image as JPEG, if it was asked
for. The page sends ``{"view": …}``, which says what it shows, and ``{"seen": N}`` once it has drawn tile N. A page has
only a few tiles under way. When it is ready for more it gets the newest frames, so a slow one falls behind in rate but
not in time, and no queue grows.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import anyio
from starlette.datastructures import State
from starlette.websockets import WebSocket

from ....engines.errors import NasionError
from ...values.numeric import finite, is_whole
from ...values.schemes import schemes
from ..hub import Hub, UnknownSource
from ..results import LiveResult
from ..subscriptions import Subscription
from .access.guard import full
from .clients import Clients
from .history import MINUTES, History
from .sockets import GOING_AWAY, NOT_ALLOWED, Socket

_STEP = 160  # pixels; widths of tiles are multiples, so that pages share encoded images
_WIDEST = 1920
_FASTEST = 60.0  # tiles of one source per second
_EARLY = 0.004  # seconds by which a tile may come before its time, so that frames that come unevenly are not skipped
_WAITING = 2  # tiles of each source that are sent and not yet drawn
_PAUSE = 1 / 120  # seconds between two looks for new frames
_LOOK = 0.25  # seconds between two looks for events
_STATUS = 1.0  # seconds between two messages with the status
_NICE = 10  # lower priority of the encoder, which is never to delay the tracking


class Encoder:
    """Thread of low priority that encodes the tiles of all pages."""

    def __init__(self) -> None:
        """Start the thread at the first tile."""
        self._pool = ThreadPoolExecutor(1, "nasion-tiles", _lower_priority)

    async def jpeg(self, result: LiveResult, width: int) -> bytes:
        """Return the image of a result, at most ``width`` pixels wide."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, result.jpeg, width)

    def close(self) -> None:
        """End the thread after the tile that it encodes."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class View:
    """Choice of tiles that a page shows.

    Attributes:
        sources: names of the sources; None for all.
        width: width of a tile in pixels of the screen.
        rate: largest number of tiles of one source per second.
        images: False if landmarks are shown without images.
    """

    sources: frozenset[str] | None = None
    width: int = 480
    rate: float = 12.0
    images: bool = True

    @classmethod
    def of(cls, given: object) -> View:
        """Return the view that a page has asked for.

        Raises:
            NasionError: it is not one.
        """
        try:
            sources, width, rate, images = (given[name] for name in ("sources", "width", "rate", "images"))  # type: ignore[index]
        except (KeyError, TypeError, IndexError):
            raise NasionError("a view has sources, width, rate and images") from None
        are_names = sources is None or (isinstance(sources, list) and all(isinstance(each, str) for each in sources))
        if not are_names or not is_whole(width) or not finite(rate) or not isinstance(images, bool):
            raise NasionError("a view has a list of names or null, a whole number, a number and true or false")
        wide = min(max(-(-width // _STEP) * _STEP, _STEP), _WIDEST)
        return cls(None if sources is None else frozenset(sources), wide, min(max(rate, 1.0), _FASTEST), images)


class _Page:
    """One open page."""

    def __init__(self, client: Socket, state: State) -> None:
        self._client = client
        self._hub: Hub = state.hub
        self._history: History = state.history
        self._clients: Clients = state.clients
        self._encoder: Encoder = state.encoder
        self._signed_in: bool = state.access.token is not None
        self._view = View(sources=frozenset())  # until the page says what it shows
        self._news = asyncio.Event()
        self._sent: dict[str, tuple[int, int]] = {}  # connection and index of the newest tile of each source
        self._due: dict[str, float] = {}
        self._tile = self._seen = 0
        self._told = self._history.last

    async def run(self, news: Subscription) -> None:
        """Serve the page until it is closed or ``news``, a subscription to all sources, is."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, tasks.cancel_scope)
            tasks.start_soon(self._watch, news, tasks.cancel_scope)
            await self._send_all()
            tasks.cancel_scope.cancel()

    async def _listen(self, scope: anyio.CancelScope) -> None:
        while (message := await self._client.receive()) is not None:
            try:
                if "view" in message:
                    self._view = View.of(message["view"])
                    self._sent.clear()
                    self._due.clear()
                elif is_whole(seen := message.get("seen")) and self._seen <= seen <= self._tile:
                    self._seen = seen
                else:
                    raise NasionError("a message has a view or the number of a tile that was sent")
            except NasionError:
                await self._client.close(NOT_ALLOWED)
                break
            self._news.set()
        scope.cancel()

    async def _watch(self, news: Subscription, scope: anyio.CancelScope) -> None:
        async for _ in news:
            self._news.set()
            await asyncio.sleep(_PAUSE)
        scope.cancel()

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()
        is_open = await self._tell({"type": "hello", **self._greeting()}) and await self._tell(self._status())
        next_status = loop.time() + _STATUS
        while is_open:
            wake = await self._send_tiles()
            if wake is None:
                return
            if self._told < self._history.last or loop.time() >= next_status:
                next_status = loop.time() + _STATUS
                is_open = await self._tell(self._status() | self._events())
            with anyio.move_on_after(max(min(wake, next_status) - loop.time(), 0.0)):
                await self._news.wait()
            self._news.clear()

    async def _send_tiles(self) -> float | None:
        """Send the newest frames that are due, and return when to look again; None if the page has gone."""
        now = asyncio.get_running_loop().time()
        wake = now + _LOOK
        names = [name for name in self._hub.names() if self._view.sources is None or name in self._view.sources]
        names.sort(key=lambda name: self._due.get(name, 0.0))  # the one that has waited for longest first
        for name in names:
            if self._tile - self._seen >= _WAITING * max(len(names), 1):
                break
            result = self._newest(name)
            if result is None or self._sent.get(name) == (result.connection, result.frame.index):
                continue
            due = self._due.get(name, 0.0)
            if now < due - _EARLY:
                wake = min(wake, due)
                continue
            self._due[name] = max(due, now - _EARLY) + 1 / self._view.rate
            self._sent[name] = result.connection, result.frame.index
            if not await self._client.send(await self._message(result)):
                return None
            self._clients.tiles += 1
        return wake

    def _newest(self, name: str) -> LiveResult | None:
        try:
            return self._hub.newest(name)
        except UnknownSource:  # removed meanwhile
            return None

    async def _message(self, result: LiveResult) -> bytes:
        view = self._view
        self._tile += 1
        scheme = result.faces[0].landmarks.scheme if result.faces else None
        header = result.to_dict() | {"tile": self._tile, "scheme": scheme.name if scheme else ""}
        text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
        image = await self._encoder.jpeg(result, view.width) if view.images else b""
        return struct.pack("<I", len(text)) + text + image

    async def _tell(self, message: dict[str, Any]) -> bool:
        return await self._client.send(json.dumps(message, separators=(",", ":"), allow_nan=False))

    def _status(self) -> dict[str, Any]:
        return {"type": "status", "status": asdict(self._history.newest or self._hub.status())}

    def _greeting(self) -> dict[str, Any]:
        lines = {name: scheme.lines for name, scheme in schemes.items()}
        history = {"samples": self._history.samples, "events": self._history.events()}
        return {"schemes": lines, "minutes": MINUTES, "signed_in": self._signed_in, **history}

    def _events(self) -> dict[str, Any]:
        events = self._history.events(self._told)
        self._told = self._history.last
        return {"events": events}


async def page(websocket: WebSocket) -> None:
    """Serve one page over a WebSocket."""
    state = websocket.app.state
    clients: Clients = state.clients
    if clients.is_full:
        await websocket.send_denial_response(full())
        return
    client = Socket(websocket)
    await client.accept()
    news = state.hub.subscribe(capacity=1)
    with clients.one("page", news):
        await _Page(client, state).run(news)
    await client.close(GOING_AWAY)


def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere threads have no priorities of their own
        with suppress(OSError):  # only a matter of speed
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
