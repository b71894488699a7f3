"""Landmarks of one source as they happen: server-sent events, and a WebSocket at the same path."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import anyio
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket

from ..hub import Hub, UnknownSource
from ..results import LiveResult
from ..subscriptions import Subscription
from .access.guard import full
from .clients import Clients
from .sockets import GOING_AWAY, Socket

_WAITING = 64  # results that wait for a slow client
_BEAT = 5.0  # seconds without a result after which a comment shows that the stream still works


async def events(request: Request) -> Response:
    """Answer with the results of a source as server-sent events."""
    hub, clients, name = _of(request)
    hub.source(name)
    if clients.is_full:
        return full()

    async def lines() -> AsyncIterator[str]:
        subscription = hub.subscribe(name, capacity=_WAITING)
        with clients.one("stream", subscription):
            async for kind, text in _results(hub, name, subscription, clients):
                yield f"event: {kind}\ndata: {text}\n\n" if text else ": no news\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def socket(websocket: WebSocket) -> None:
    """Send the results of a source over a WebSocket; what the client sends is ignored."""
    hub, clients, name = _of(websocket)
    hub.source(name)
    if clients.is_full:
        await websocket.send_denial_response(full())
        return
    client = Socket(websocket)
    await client.accept()
    subscription = hub.subscribe(name, capacity=_WAITING)
    with clients.one("stream", subscription):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_ignore, client, tasks.cancel_scope)
            async for _, text in _results(hub, name, subscription, clients):
                if text and not await client.send(text):
                    break
            tasks.cancel_scope.cancel()
    await client.close(GOING_AWAY)


async def _results(hub: Hub, name: str, subscription: Subscription, clients: Clients) -> AsyncIterator[tuple[str, str]]:
    """Yield kind and JSON of each event until the source ends or is removed; empty text after a while without any."""
    told = 0
    while True:
        result: LiveResult | None = None
        with anyio.move_on_after(_BEAT):
            try:
                result = await anext(subscription)
            except StopAsyncIteration:
                return
        if (missed := subscription.dropped - told) > 0:
            told += missed
            clients.dropped += missed
            yield "dropped", json.dumps({"dropped": told})
        if result is not None:
            yield "landmarks", json.dumps(result.to_dict(), separators=(",", ":"), allow_nan=False)
            continue
        try:
            hub.source(name)
        except UnknownSource:
            return
        yield "", ""


async def _ignore(client: Socket, scope: anyio.CancelScope) -> None:
    while await client.receive() is not None:
        pass
    scope.cancel()


def _of(connection: HTTPConnection) -> tuple[Hub, Clients, str]:
    state = connection.app.state
    return state.hub, state.clients, connection.path_params["name"]
