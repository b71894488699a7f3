"""Files in storage that fsspec opens, such as S3, Google Cloud Storage or a web server."""

from __future__ import annotations

import re
from typing import IO, Any

from ....engines.errors import MissingExtra, SourceError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt", "rist")
_SECRET = re.compile(r"(://)[^@/]*@|\?.*$")


def is_stored(text: str) -> bool:
    """Return True for the URL of a file in storage; False for a path, and for the address of a stream."""
    match = _SCHEME.match(text)
    return match is not None and match[1].lower() not in _STREAMS


def stored_path(url: str) -> Any:
    """Return the path of a file in storage, a ``upath.UPath``, which has the methods of ``pathlib.Path``.

    Raises:
        MissingExtra: fsspec or universal-pathlib is not installed.
        SourceError: fsspec does not know the protocol, or needs a package for it.
    """
    try:
        from upath import UPath
    except ImportError as error:
        raise MissingExtra("universal-pathlib", "cluster", f"{public(url)!r}") from error
    try:
        path = UPath(url)
        path.fs  # noqa: B018 - a package that a protocol needs is imported here
    except (ImportError, ValueError) as error:
        raise SourceError(f"{public(url)!r} cannot be opened with fsspec ({error}); install what it names") from error
    return path


def public(url: str) -> str:
    """Return a URL without user, password and query.

    Other than in ``sources.redact``, it is well-formed, so an @ after the first slash belongs to the path.
    """
    return _SECRET.sub(lambda match: match[1] or "", url)


def open_stored(url: str) -> IO[bytes]:
    """Open a file in storage. Of a large file, only the parts that are read are transferred, if the server allows it.

    Raises:
        SourceError: it cannot be opened.
    """
    try:
        file: IO[bytes] = stored_path(url).open("rb")
    except OSError as error:
        raise SourceError(f"{public(url)!r} cannot be read ({error.strerror or error}); check the address") from error
    return file
