"""Control API: the sources listed, added, paused, resumed and removed. ``openapi.json`` describes it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...sources.standard_input import STANDARD_INPUT
from ...values.numeric import is_whole
from ..hub import Hub

_KEYS = ("source", "name", "max_fps", "roi", "loop")
_PATIENCE = 10.0  # seconds for a body to arrive


async def list_sources(request: Request) -> Response:
    """Answer with the status of the hub and of all sources."""
    return JSONResponse(asdict(_hub(request).status()))


async def add_source(request: Request) -> Response:
    """Add a source and answer with its status; connecting happens in the background."""
    given = await _body(request, _KEYS)
    source, name, max_fps, roi, loop = (given.get(key) for key in _KEYS)
    if not (isinstance(source, str) and source) and not is_whole(source):
        raise HTTPException(400, "source is an address, a path or the number of a camera")
    if source in STANDARD_INPUT:
        raise HTTPException(400, "standard input cannot be added here; give an address, a path or a camera number")
    if name is not None and not isinstance(name, str):
        raise HTTPException(400, "name is a text, or left out")
    if max_fps is not None and (isinstance(max_fps, bool) or not isinstance(max_fps, int | float)):
        raise HTTPException(400, "max_fps is a number, or left out")
    if roi is not None and not (isinstance(roi, list) and len(roi) == 4 and all(is_whole(each) for each in roi)):
        raise HTTPException(400, "roi is a list of x, y, width and height in whole pixels, or left out")
    if loop is not None and not isinstance(loop, bool):
        raise HTTPException(400, "loop is true or false, or left out")
    hub = _hub(request)

    def add() -> str:
        return hub.add(source, name=name or "", max_fps=max_fps, roi=tuple(roi) if roi else None, loop=bool(loop))

    added = await anyio.to_thread.run_sync(add)
    location = request.url_for("source", name=added).path
    return JSONResponse(asdict(hub.source(added)), 201, {"location": location})


async def show_source(request: Request) -> Response:
    """Answer with the status of one source."""
    return JSONResponse(asdict(_hub(request).source(request.path_params["name"])))


async def change_source(request: Request) -> Response:
    """Pause or resume a source, and answer with its status."""
    paused = (await _body(request, ("paused",))).get("paused")
    if not isinstance(paused, bool):
        raise HTTPException(400, "paused is true or false")
    hub, name = _hub(request), request.path_params["name"]
    if hub.source(name).state == "ended":
        raise HTTPException(409, f"{name} has ended; remove it and add it again")
    await anyio.to_thread.run_sync(hub.pause if paused else hub.resume, name)
    return JSONResponse(asdict(hub.source(name)))


async def remove_source(request: Request) -> Response:
    """Remove a source."""
    await anyio.to_thread.run_sync(_hub(request).remove, request.path_params["name"])
    return Response(status_code=204)


async def _body(request: Request, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON object in the body of a request."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the body must be JSON; send it with Content-Type: application/json")
    try:
        with anyio.fail_after(_PATIENCE):
            given = json.loads(await request.body())
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {_PATIENCE:g} seconds") from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body cannot be read as JSON") from None
    if not isinstance(given, dict):
        raise HTTPException(400, f"the body must be a JSON object; its keys are {', '.join(keys)}")
    if unknown := [key for key in given if key not in keys]:
        raise HTTPException(400, f"{unknown[0]!r:.60} is not a key of the body; allowed: {', '.join(keys)}")
    return given


def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub
