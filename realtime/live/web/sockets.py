"""WebSockets whose clients may be slow, send anything or vanish at any time."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect

from .access.limits import Rate

_SLOW = 20.0  # seconds for which a client may take nothing
_RATE, _BURST = 100.0, 300.0  # messages from a client, per second and at once

GOING_AWAY, NOT_ALLOWED = 1001, 1008
"""Codes with which a WebSocket is closed (RFC 6455, 7.4.1)."""


class Socket:
    """An accepted WebSocket. Sending and receiving never raise: they say whether the client is still there."""

    def __init__(self, websocket: WebSocket) -> None:
        """Wrap a WebSocket that has not been accepted yet."""
        self._websocket = websocket
        self._rate = Rate(_RATE, _BURST)
        self._lock = anyio.Lock()
        self._is_gone = False

    async def accept(self) -> None:
        """Accept the connection."""
        await self._websocket.accept()

    async def send(self, data: str | bytes) -> bool:
        """Send a message and return True, or return False if the client has gone or takes nothing."""
        async with self._lock:
            if self._is_gone:
                return False
            try:
                with anyio.fail_after(_SLOW):
                    await (
                        self._websocket.send_text(data) if isinstance(data, str) else self._websocket.send_bytes(data)
                    )
            except (WebSocketDisconnect, RuntimeError, OSError, TimeoutError):
                self._is_gone = True
            return not self._is_gone

    async def receive(self) -> dict[str, Any] | None:
        """Return the next message, a JSON object; None if the client has gone or sends what is not allowed."""
        if self._is_gone:
            return None
        try:
            message = json.loads(await self._websocket.receive_text())
        except (WebSocketDisconnect, RuntimeError):
            self._is_gone = True
            return None
        except (KeyError, ValueError, RecursionError):  # bytes, or no JSON
            message = None
        if isinstance(message, dict) and self._rate.take():
            return message
        await self.close(NOT_ALLOWED)
        return None

    async def close(self, code: int) -> None:
        """Close the connection, if there still is one."""
        if not self._is_gone:
            self._is_gone = True
            with suppress(WebSocketDisconnect, RuntimeError, OSError, TimeoutError), anyio.fail_after(1):
                await self._websocket.close(code)
