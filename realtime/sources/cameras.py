"""Local cameras, read with OpenCV."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path

import cv2
import numpy as np

from ...engines.errors import SourceError
from .background import BackgroundSource
from .base import FrameSource, Images, Source, SourceInfo, TimeRange

_log = logging.getLogger(__name__)
_quiet_lock = threading.Lock()
_PROBED = 4  # number of cameras tried if the system does not list its cameras


MOST_CAMERAS = 2**20 - 1
"""Largest device number on Linux."""


@dataclass(frozen=True, slots=True)
class Camera:
    """Camera that can be opened: its number and its default frame size in pixels."""

    number: int
    width: int
    height: int


def camera_number(source: str | os.PathLike[str]) -> int | None:
    """Return the camera number of a string of digits or a device, such as ``0``, ``/dev/video0`` or a link to it.

    None if the source is neither.
    """
    text = os.fspath(source).strip()
    if isinstance(source, str) and text.isascii() and text.isdigit():
        return int(text) if len(text) < 4000 else MOST_CAMERAS + 1  # Python does not parse thousands of digits
    device = re.fullmatch(r"/dev/video([0-9]{1,9})", os.path.realpath(text) if text.startswith("/dev/") else text)
    return int(device[1]) if device else None


def list_cameras() -> list[Camera]:
    """List the cameras that can be opened now. Logs nothing, and is fast if there is none."""
    found = []
    for number in _numbers():
        capture = _open_device(number)
        try:
            if capture.isOpened():
                found.append(Camera(number, *_size_of(capture)))
        finally:
            capture.release()
    return found


def open_camera(
    number: int, time_range: TimeRange, *, size: tuple[int, int] | None, fps: float | None, timeout: float | None
) -> Source:
    """Open a camera and request ``size`` and ``fps``. A different actual size is logged.

    Without a timeout, the calling thread reads the camera.

    Raises:
        SourceError: the camera is missing, in use, or silent for ``timeout`` seconds.
    """
    if timeout is None:
        return _open(number, time_range, size, fps)
    return BackgroundSource(lambda: _open(number, time_range, size, fps), f"camera {number}", timeout)


def _open(number: int, time_range: TimeRange, size: tuple[int, int] | None, fps: float | None) -> FrameSource:
    capture = _open_device(number)
    if not capture.isOpened():
        capture.release()
        raise SourceError(_not_opened(number))
    _ask(capture, size, fps)
    rate = capture.get(cv2.CAP_PROP_FPS)
    info = SourceInfo(f"camera {number}", 0, 0, Fraction(rate).limit_denominator(1001) if rate > 0 else None, live=True)
    source = FrameSource(_grab(capture, number), info, time_range)
    if size and size != (source.info.width, source.info.height):
        _log.warning(
            "camera %d: %dx%d requested, %dx%d delivered", number, *size, source.info.width, source.info.height
        )
    return source


def _ask(capture: cv2.VideoCapture, size: tuple[int, int] | None, fps: float | None) -> None:
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # read the newest image, if the driver supports it
    if size:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    if fps:
        capture.set(cv2.CAP_PROP_FPS, fps)


def _grab(capture: cv2.VideoCapture, number: int) -> Images:
    first = None
    try:
        for index in count():
            ok, image = capture.read()
            now = time.perf_counter()
            if not ok:
                raise SourceError(
                    f"camera {number}: it stopped sending images; check its cable and that no other program uses it"
                )
            first = now if first is None else first
            yield np.ascontiguousarray(image, np.uint8), now - first, index
    finally:
        capture.release()


def _open_device(number: int) -> cv2.VideoCapture:
    """Try to open a camera without the messages that OpenCV prints."""
    # On Linux only V4L2 has cameras; CAP_ANY would also try files and streams of that name.
    backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
    with _quiet_opencv():
        return cv2.VideoCapture(number, backend)


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    with _quiet_lock:  # the log level is global to the process
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(0)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(level)


def _numbers() -> list[int]:
    """Return the numbers that may be cameras."""
    if sys.platform != "linux":
        return list(range(_PROBED))
    names = (re.fullmatch(r"video([0-9]+)", path.name) for path in Path("/dev").glob("video*"))
    return sorted(int(name[1]) for name in names if name)


def _size_of(capture: cv2.VideoCapture) -> tuple[int, int]:
    return int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))


def _not_opened(number: int) -> str:
    text = f"camera {number} cannot be opened; "
    if sys.platform == "linux":
        here = ", ".join(f"{n} (/dev/video{n})" for n in _numbers())
        text += f"cameras that this system lists: {here or 'none'}; "
    return text + (
        "plug it in, close other programs that use it, allow this one to use it (on Linux: the group "
        "'video'), and see what works with: nasion doctor"
    )
