"""Guard in front of all routes: hosts, origins, rates, token, sizes, and the security headers of every response."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from re import DOTALL, findall

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Rate, Rates, limited, too_large
from .sessions import Access

HEALTH, SIGN_IN = "/healthz", "/sign-in"
"""Paths that need no token."""
MOST_BYTES = 16_384
"""Largest body of a request, and largest message on a WebSocket."""

_REQUESTS, _REQUEST_BURST = 50.0, 200.0  # of one address, per second and at once
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer, browsers send forms with the origin null
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_FORM = files(__package__).joinpath("sign-in.html").read_text("utf-8")
_FORM_STYLES = " ".join(
    f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"
    for style in findall("<style>(.*?)</style>", _FORM, DOTALL)
)


class Guard:
    """ASGI middleware that lets only allowed requests through to the application."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Guard ``app`` by the rules of ``access``."""
        self._app, self._access = app, access
        self._requests = Rates(_REQUESTS, _REQUEST_BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is refused, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = self._refusal(HTTPConnection(scope))
        with_headers = _adding_headers(send)
        if refused is not None:
            await refused(scope, receive, with_headers)
            return
        await self._app(scope, limited(receive, MOST_BYTES), with_headers)

    def _refusal(self, request: HTTPConnection) -> Response | None:
        """Return why a request is refused, or None."""
        headers, path = request.headers, _path(request.scope)
        requests = self._requests.of(address_of(request.scope))
        if not requests.take():
            return too_many(requests)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.hosts.allow(hosts[0]):
            return problem(421, "this server has another name; start it with --allow-host to give it this one")
        if not self._is_same_origin(headers, hosts[0]):
            return problem(403, "pages of other sites may not use this server")
        if (length := headers.get("content-length", "0")).isdecimal() and int(length) > MOST_BYTES:
            return problem(413, too_large(MOST_BYTES).detail)
        if path == HEALTH or (path == SIGN_IN and request.scope.get("method") == "POST"):
            return None
        authorization = headers.get("authorization", "")
        if self._access.admits(authorization, request.cookies.get(self._access.cookie)):
            return None
        if authorization:
            wrong = self._access.wrong_tokens.of(address_of(request.scope))
            if not wrong.take():
                return too_many(wrong)
        if path in ("/", SIGN_IN) and request.scope["type"] == "http":
            return sign_in_form()
        return problem(
            401, "a token is needed; send it as the header Authorization: Bearer TOKEN, or sign in on the page"
        )

    def _is_same_origin(self, headers: Headers, host: str) -> bool:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if origin is not None and not self._access.hosts.allow_origin(origin, host):
            return False
        is_link = headers.get("sec-fetch-mode") == "navigate" and origin is None
        return site in ("none", "same-origin") or is_link or origin is not None


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error as JSON: an object with the key ``error``."""
    return JSONResponse({"error": detail}, status, headers)


def sign_in_form(error: str = "", status: int = 401) -> HTMLResponse:
    """Return the page with the form for the token, and an error above it if there is one."""
    shown = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    policy = _HEADERS["content-security-policy"].replace("style-src 'self'", f"style-src {_FORM_STYLES}")
    headers = {"content-security-policy": policy, "www-authenticate": 'Bearer realm="nasion"'}
    return HTMLResponse(_FORM.replace("<!-- error -->", shown), status, headers)


def too_many(rate: Rate) -> JSONResponse:
    """Return the error for too many requests, with the seconds to wait."""
    return problem(429, "too many requests; try again later", {"retry-after": str(int(rate.wait) + 1)})


def address_of(scope: Scope) -> str:
    """Return the IP address of the client."""
    client = scope.get("client")
    return client[0] if client else ""


def _path(scope: Scope) -> str:
    """Return the path of a request below the root path."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path.removeprefix(root) or "/"


def _adding_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if message["status"] == 401:
                headers.setdefault("www-authenticate", 'Bearer realm="nasion"')
        await send(message)

    return send_with_headers


def full() -> JSONResponse:
    """Return the error for too many clients that stay connected."""
    return problem(503, "too many pages and streams are open; close some of them", {"retry-after": "10"})
