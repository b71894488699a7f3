"""Video from standard input, such as ``cat clip.mp4 | nasion track -``."""

from __future__ import annotations

import logging
import os
import struct
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

from ...engines.errors import SourceError
from .background import BackgroundSource
from .base import FrameSource, TimeRange
from .media import open_media

_log = logging.getLogger(__name__)

STANDARD_INPUT = ("-", "/dev/stdin")
"""Names of the source."""
_NAME = "standard input"
_PIPE_IN = "pipe a video into it, for example: cat clip.mp4 | nasion track -"
_CHUNK = 1 << 16  # bytes
_SMALL = (b"ftyp", b"free", b"skip", b"wide", b"uuid", b"pdin")  # boxes of MP4 before its index and its frames


class StandardInput(BackgroundSource):
    """Video that another program writes to standard input. It waits for the tracker, so no frame is dropped.

    Frames are read as they arrive. What cannot be read in order is copied to a temporary file first: an MP4 file with
    its index at the end, and every video if a start is given.
    """

    def __init__(self, time_range: TimeRange, decode: str, stream: int | None = None) -> None:
        """Wait for the first frame.

        Raises:
            SourceError: standard input is closed or a terminal, or does not contain a video.
        """
        if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
            raise SourceError(f"no video comes from {_NAME}; {_PIPE_IN}")
        number = sys.stdin.fileno()
        self._folder = tempfile.TemporaryDirectory(prefix="nasion-", ignore_cleanup_errors=True)
        copy = Path(self._folder.name) / "video"
        try:
            super().__init__(lambda: _open(number, copy, time_range, decode, stream), _NAME, threading.TIMEOUT_MAX)
        except BaseException:
            self._folder.cleanup()
            raise

    def close(self) -> None:
        """Stop reading. Calling it again does nothing."""
        super().close()
        self._folder.cleanup()


def _open(number: int, copy: Path, time_range: TimeRange, decode: str, stream: int | None) -> FrameSource:
    """Open the video that the file descriptor ``number`` delivers."""
    pieces = iter(lambda: os.read(number, _CHUNK), b"")
    head, is_last = b"", None
    for piece in pieces:
        head += piece
        is_last = index_is_last(head)
        if is_last is not None:
            break
    if not head:
        raise SourceError(f"{_NAME} is empty (0 bytes); {_PIPE_IN}")
    pieces = chain([head], pieces)
    if is_last or time_range.start is not None:
        with copy.open("wb") as file:
            file.writelines(pieces)
        source = open_media(str(copy), _NAME, time_range, decode=decode, stream=stream)
        source.info = replace(source.info, files=())
        return source
    reading, writing = os.pipe()
    threading.Thread(target=_feed, args=(writing, pieces), name="nasion-input", daemon=True).start()
    try:
        source = open_media(f"pipe:{reading}", _NAME, time_range, decode=decode, stream=stream)
    finally:
        os.close(reading)  # FFmpeg has its own copy
    if source.info.sound:
        _log.warning("%s cannot be read twice; an annotated video will have no sound", _NAME)
    source.info = replace(source.info, files=(), sound=None)
    return source


def _feed(number: int, pieces: Iterator[bytes]) -> None:
    """Write the pieces to a pipe until all are written or its reader ends."""
    with suppress(BrokenPipeError), os.fdopen(number, "wb", buffering=0) as pipe:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[pipe.write(rest) :]


def index_is_last(head: bytes) -> bool | None:
    """Return whether a file that begins with ``head`` is MP4 with its frames before its index; None: not known yet."""
    place = 0
    while len(head) >= place + 8:
        size, kind = struct.unpack_from(">I4s", head, place)
        if kind == b"mdat":
            return True
        if kind not in _SMALL or size < 8:
            return False
        place += size
    return None
