"""The web application: its routes, its background task, and the errors that it answers with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from ....engines.errors import NasionError, printable
from ..hub import Hub, UnknownSource
from .access.guard import HEALTH, SIGN_IN, Guard, address_of, problem, sign_in_form, too_many
from .access.sessions import LIFETIME, Access
from .clients import Clients
from .control import add_source, change_source, list_sources, remove_source, show_source
from .history import History
from .metrics import CONTENT_TYPE, Metrics
from .streams import events, socket
from .tiles import Encoder, page

_LOOK = 0.5  # seconds between two looks for changes
_SAMPLE = 1.0  # seconds between two samples of the history
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def application(hub: Hub, access: Access, clients: Clients) -> ASGIApp:
    """Return the web application of a hub, guarded by the rules of ``access``."""
    one = "/api/sources/{name}"
    app = Starlette(
        routes=[
            *(_file(path, name) for path, name in _pages().items()),
            Route("/openapi.json", _openapi),
            Route(HEALTH, _health),
            Route("/metrics", _metrics),
            Route(SIGN_IN, _sign_in, methods=["POST"]),
            Route("/sign-out", _sign_out, methods=["POST"]),
            WebSocketRoute("/api/tiles", page),
            Route("/api/sources", list_sources, methods=["GET"]),
            Route("/api/sources", add_source, methods=["POST"]),
            Route(one, show_source, methods=["GET"], name="source"),
            Route(one, change_source, methods=["PATCH"]),
            Route(one, remove_source, methods=["DELETE"]),
            Route(f"{one}/landmarks", events, methods=["GET"]),
            WebSocketRoute(f"{one}/landmarks", socket),
        ],
        exception_handlers={HTTPException: _refused, UnknownSource: _unknown, NasionError: _not_possible},
        lifespan=_lifespan,
    )
    app.state.hub, app.state.access, app.state.clients = hub, access, clients
    app.state.history, app.state.encoder, app.state.metrics = History(), Encoder(), Metrics(hub, clients)
    return Guard(app, access)


def _pages() -> dict[str, str]:
    """Return the paths of the files of the page. Nothing else is ever read, whatever a request names."""
    names = [each.name for each in files(__package__).joinpath("page").iterdir()]
    shown = [name for name in names if name.rpartition(".")[2] in _TYPES and name != "index.html"]
    return {"/": "index.html", **{f"/{name}": name for name in shown}}


def _file(path: str, name: str) -> Route:
    content = files(__package__).joinpath("page", name).read_bytes()
    kind = _TYPES[name.rpartition(".")[2]]

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return Route(path, answer)


async def _openapi(request: Request) -> Response:
    content = files(__package__).joinpath("page", "openapi.json").read_bytes()
    return Response(content, media_type="application/json")


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _metrics(request: Request) -> Response:
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})


async def _sign_in(request: Request) -> Response:
    """Exchange the token in a form for a cookie."""
    access: Access = request.app.state.access
    wrong = access.wrong_sign_ins.of(address_of(request.scope))
    if wrong.wait > 0:
        return too_many(wrong)
    token = parse_qs((await request.body()).decode("utf-8", "replace")).get("token", [""])[0].strip()
    if not access.is_token(token):
        wrong.take()
        return sign_in_form("This is not the token.")
    response = RedirectResponse("./", 303)
    response.set_cookie(access.cookie, access.sessions.begin(), max_age=int(LIFETIME), **_cookie(request))
    return response


async def _sign_out(request: Request) -> Response:
    access: Access = request.app.state.access
    access.sessions.end(request.cookies.get(access.cookie, ""))
    response = RedirectResponse("./", 303)
    response.delete_cookie(access.cookie, **_cookie(request))
    return response


def _cookie(request: Request) -> dict[str, Any]:
    """Return the attributes of the cookie: for this server alone, never for scripts or requests of other sites."""
    is_tls = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https:")
    # Without a path, browsers keep the cookie for the folder of the form as they see it, below a proxy or not.
    return {"path": None, "secure": is_tls, "httponly": True, "samesite": "strict"}


async def _refused(request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, dict(error.headers or {}))


async def _unknown(request: HTTPConnection, error: Exception) -> Response:
    return problem(404, printable(error))


async def _not_possible(request: HTTPConnection, error: Exception) -> Response:
    return problem(400, printable(error))


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    """Keep the history while the server runs."""
    task = asyncio.create_task(_keep(app.state.hub, app.state.history))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        app.state.encoder.close()


async def _keep(hub: Hub, history: History, clock: Callable[[], float] = monotonic) -> None:
    next_sample = clock()
    while True:
        status = hub.status()
        history.watch(status)
        if clock() >= next_sample:
            next_sample = max(next_sample + _SAMPLE, clock())
            history.sample(status)
        await asyncio.sleep(_LOOK)
