"""Options of the web server, checked without the extra ``web``."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from ....engines.errors import MissingExtra, NasionError, foreign, printable
from .access.hosts import is_loopback

HOST, PORT = "127.0.0.1", 8765
"""Address of the server if none is given."""
TOKEN_VARIABLE = "NASION_TOKEN"
"""Environment variable with the token."""

_OF_EXTRA = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "websockets": "websockets",
    "prometheus_client": "prometheus-client",
}
_TOKEN = re.compile(r"[\x21-\x7e]{16,512}")
_HOW = """python -c "import secrets; print(secrets.token_urlsafe())" makes one"""
_ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]*):)?(?P<port>\d{1,5})")
_NAME = re.compile(r"[A-Za-z0-9.-]{1,253}")
_ROOT = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_TAKEN = ("api", "healthz", "metrics", "openapi.json", "sign-in", "sign-out")  # first parts of paths of the server


@dataclass(frozen=True, slots=True)
class Serving:
    """Options of the web server.

    Attributes:
        host: name or address to listen on; other machines can reach the server only if it is not a loopback one.
        port: port to listen on; 0 for any free one.
        token: secret that each request needs, 16 to 512 characters; None for loopback hosts alone.
        tls_cert: file with the certificate, in PEM; None for no TLS.
        tls_key: file with its key, in PEM.
        root_path: path under which a proxy serves the page, such as ``/faces``; requests may come with or without it.
        allow_host: further names that browsers use for the server, such as that of a proxy.
    """

    host: str = HOST
    port: int = PORT
    token: str | None = field(default=None, repr=False)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    root_path: str = ""
    allow_host: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check all options.

        Raises:
            NasionError: one is not allowed.
        """
        if not 0 <= self.port <= 65535:
            raise NasionError(f"port {self.port} is not allowed; give a number from 0 to 65535")
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise NasionError(
                f"the token is not allowed; give 16 to 512 visible ASCII characters without spaces: {_HOW}"
            )
        if self.token is None and not is_loopback(self.host):
            raise NasionError(
                f"{self.host} can be reached from other machines, so a token is needed; set {TOKEN_VARIABLE} or give "
                f"--token-file ({_HOW}), or serve on {HOST}"
            )
        if self.token is None and self.allow_host:
            raise NasionError(
                f"--allow-host lets other machines in through a proxy, so a token is needed; set {TOKEN_VARIABLE} or "
                f"give --token-file ({_HOW})"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise NasionError("--tls-cert and --tls-key belong together; give both, or neither")
        if self.root_path and not _ROOT.fullmatch(self.root_path):
            raise NasionError(f"root path {self.root_path!r:.80} is not allowed; give one such as /faces")
        if self.root_path and self.root_path.split("/")[1] in _TAKEN:
            raise NasionError(
                f"root path {self.root_path!r:.80} is that of a part of the server; give another, such as /faces"
            )
        for name in self.allow_host:
            if not _NAME.fullmatch(name):
                raise NasionError(f"{name!r:.80} is not the name of a host; give one such as faces.example.org")

    @classmethod
    def of(
        cls,
        text: str = f"{HOST}:{PORT}",
        *,
        token_file: Path | None = None,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        root_path: str = "",
        allow_host: Sequence[str] = (),
    ) -> Self:
        """Read ``[HOST:]PORT``, with the token from ``token_file`` or, without one, from ``NASION_TOKEN``.

        Raises:
            MissingExtra: the extra ``web`` is not installed.
            NasionError: an option is not allowed, or the file of the token cannot be read.
        """
        for module, package in _OF_EXTRA.items():
            if find_spec(module) is None:
                raise MissingExtra(package, "web", "--serve")
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise NasionError(
                f"{text!r:.80} is not an address; give [HOST:]PORT, such as {HOST}:{PORT} or [::1]:{PORT}"
            )
        host = (found["host"] or HOST).strip("[]").lower()
        token = _read_token(token_file) if token_file is not None else os.environ.get(TOKEN_VARIABLE) or None
        return cls(host, int(found["port"]), token, tls_cert, tls_key, root_path.rstrip("/"), tuple(allow_host))

    @property
    def scheme(self) -> str:
        """``https`` with a certificate, otherwise ``http``."""
        return "http" if self.tls_cert is None else "https"


def check_certificate(serving: Serving) -> None:
    """Load the certificate and its key once, so that a wrong file is reported before the server starts.

    Raises:
        NasionError: they cannot be used.
    """
    if serving.tls_cert is None or serving.tls_key is None:
        return
    for path in (serving.tls_cert, serving.tls_key):
        _read(path)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(serving.tls_cert, serving.tls_key, lambda: "")  # an encrypted key asks for no password
    except (ssl.SSLError, ValueError, OSError) as error:
        raise NasionError(
            f"{printable(serving.tls_cert)} and {printable(serving.tls_key)} are no certificate with its key "
            f"({foreign(error)}); give both in PEM, the key without a password"
        ) from None


def _read_token(path: Path) -> str:
    text = _read(path).decode("utf-8", "replace").strip()
    if not _TOKEN.fullmatch(text):
        raise NasionError(
            f"{printable(path)} holds no token; write 16 to 512 visible ASCII characters without spaces into it: {_HOW}"
        )
    return text


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise NasionError(f"{printable(path)} cannot be read: {error.strerror}") from None
