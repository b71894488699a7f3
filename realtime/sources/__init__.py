"""Sources of frames: files, cameras, network streams, images and a test pattern."""

from __future__ import annotations

import logging
import math
import os
import re
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Unpack
from urllib.parse import parse_qsl

from ...engines.errors import SourceError, printable
from ...engines.output_paths import is_folder, reaching
from ..values.numeric import is_whole
from ..values.source_options import SourceKeywords, SourceOptions
from .background import BackgroundSource
from .base import FrameSource, Images, Source, SourceInfo, TimeRange
from .cameras import MOST_CAMERAS, Camera, camera_number, list_cameras, open_camera
from .image_files.reading import is_image_file
from .image_files.sources import open_folder, open_image
from .media import open_media
from .packets.container import has_protocol
from .standard_input import STANDARD_INPUT, StandardInput
from .synthetic import CameraMotion

__all__ = [
    "Camera",
    "Source",
    "SourceInfo",
    "check_address",
    "list_cameras",
    "open_source",
    "redact",
    "with_known_scheme",
]

_log = logging.getLogger(__name__)

URL_SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "rtp", "tcp")
_OPTIONAL_SCHEMES = ("srt", "rist")  # libraries that FFmpeg may be built without
_PATTERN = "pattern:"
_KINDS = (
    "give a video file, an image, a folder of images, a camera number, a URL (rtsp://...), - for standard input or "
    "pattern:"
)
_BEGINNING = re.compile(rf"(?:[^:@/?#]*://|(?:{'|'.join(URL_SCHEMES + _OPTIONAL_SCHEMES)})(?::/?|//))?", re.IGNORECASE)
_SECRET = re.compile(r"((?:user\w*|pass\w*|pwd|token|secret|\w*key|auth\w*|sig\w*)=)[^&;/]+", re.IGNORECASE)


def open_source(source: str | int | Path, *, light: bool = False, **options: Unpack[SourceKeywords]) -> Source:
    """Open a source of frames and read its first frame.

    Args:
        source: path of a video, an image or a folder of images; number or device of a camera; URL; or ``pattern:``, a
            moving test pattern (``pattern:live`` runs at the frame rate of a camera; ``pattern:?seconds=5&seed=1``
            sets its length and motion). A string of digits is a camera number, ``-`` a video from standard input.
        light: read it as one of many sources that share a machine. The calling thread reads and decodes, and may be
            blocked until the timeout has passed; otherwise cameras and URLs have a thread of their own, so that
            ``close`` ends a blocked read. Sound is not read, and colours may differ by a few levels.
        **options: fields of ``SourceOptions``, such as ``start=1.5``.

    Raises:
        NasionError: an option is unknown.
        SourceError: the source cannot be opened, or an option is not allowed or does not apply to it.

    Examples:
        >>> import nasion
        >>> with nasion.open_source("video.mp4", start=0.1) as source:
        ...     frame = next(source)
        >>> source.info.width == frame.width, frame.index
        (True, 3)
    """
    if is_whole(source):
        source = int(source)
    elif not isinstance(source, str | os.PathLike):
        raise SourceError(f"the source is {redact(repr(source)):.100}; {_KINDS}")
    return _open(source, SourceOptions(**options), light=light)


def _open(source: str | int | os.PathLike[str], options: SourceOptions, *, light: bool) -> Source:
    decode, stream, timeout = options.decode, options.stream, float(options.timeout)
    time_range = TimeRange(options.start, options.end)
    text = str(source).strip()
    number = source if isinstance(source, int) else camera_number(source)
    if number is not None:
        _refuse_gpu(f"camera {number}", decode)
        _refuse_stream(f"camera {number}", stream)
        return _camera_named(text, number, time_range, options.size, options.fps, None if light else timeout)
    assert not isinstance(source, int)
    if isinstance(source, str) and text.startswith(_PATTERN):
        _refuse_gpu(text, decode)
        _refuse_stream(text, stream)
        return _pattern(text, time_range, options.size, options.fps)
    _refuse(size=options.size, fps=options.fps)
    if isinstance(source, str) and text in STANDARD_INPUT:
        return StandardInput(time_range, decode, stream)
    if isinstance(source, str) and "://" in text:
        return _url(text, time_range, timeout, decode, stream, light=light)
    if not text:
        raise SourceError(f"the source is empty; {_KINDS}")
    with reaching(Path(source), SourceError):
        return _path(Path(source), time_range, decode, stream, options.max_pixels, light=light)


def check_address(source: str | int | Path) -> None:
    """Check what can be known of a source without opening it: its kind, its protocol, and that a file exists.

    Raises:
        SourceError: it is none that can be opened.
    """
    if not is_whole(source) and not isinstance(source, str | os.PathLike):
        raise SourceError(f"the source is {redact(repr(source)):.100}; {_KINDS}")
    text = str(source).strip()
    number = camera_number(text)
    if number is not None:
        _check_camera(number)
    elif not text:
        raise SourceError(f"the source is empty; {_KINDS}")
    elif text.startswith(_PATTERN):
        _pattern_options(text)
    elif "://" in text:
        _check_url(text)
    elif text not in STANDARD_INPUT:
        with reaching(Path(text), SourceError):
            _check_path(Path(text))


def redact(url: str) -> str:
    """Remove possible secrets from a URL: user and password, the query, and ``password=`` within the path.

    Everything before the last ``@`` counts as user and password, because a password may contain any character. The URL
    may be mistyped, as in ``rtsp:/user:password@host``; other text without ``:`` before an ``@`` is left as it is.
    """
    match = _BEGINNING.match(url)
    beginning = match[0] if match else ""
    secret, at, place = url[len(beginning) :].rpartition("@")
    if not beginning and ":" not in secret:
        return url
    place, mark, _ = place.partition("#")[0].partition("?")
    place = _SECRET.sub(r"\1***", place)
    return f"{beginning}{'***@' if at else ''}{place}{'?***' if mark else ''}"


def with_known_scheme(url: str) -> str:
    """Return a URL with its scheme in lower case, as FFmpeg and our rules for protocols know it."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.lower()}://{rest}" if separator else url


def _refuse(**asked: object) -> None:
    for name, value in asked.items():
        if value is not None:
            raise SourceError(f"{name} is {value}, but only a camera or pattern: takes it; leave {name} out")


def _refuse_gpu(name: str, decode: str) -> None:
    if decode.startswith("cuda"):
        raise SourceError(f"{name}: decode is {decode!r}, but only video files and streams are decoded; leave it out")


def _refuse_stream(name: str, stream: int | None) -> None:
    if stream is not None:
        raise SourceError(f"{name}: stream is {stream}, but only video files and URLs have several; leave it out")


def _no_start(name: str, time_range: TimeRange) -> None:
    if time_range.start is not None:
        raise SourceError(
            f"{name}: a live source has no position {time_range.start:g} s to start from; leave start out"
        )


def _camera_named(
    text: str,
    number: int,
    time_range: TimeRange,
    size: tuple[int, int] | None,
    fps: float | None,
    timeout: float | None,
) -> Source:
    """Open a camera, with a hint in messages if a file has the name of its number."""
    hint = f"for the file of that name give ./{text}" if text.isdigit() and os.path.lexists(text) else ""
    try:
        camera = _camera(number, time_range, size, fps, timeout)
    except SourceError as error:
        if hint:
            raise SourceError(f"{error}; {hint}") from error
        raise
    if hint:
        _log.warning("using camera %d; %s", number, hint)
    return camera


def _check_camera(number: int) -> None:
    if not 0 <= number <= MOST_CAMERAS:
        raise SourceError(
            f"camera {number} does not exist; cameras count from 0 to {MOST_CAMERAS}; see them with: nasion doctor"
        )


def _camera(
    number: int, time_range: TimeRange, size: tuple[int, int] | None, fps: float | None, timeout: float | None
) -> Source:
    _check_camera(number)
    _no_start(f"camera {number}", time_range)
    return open_camera(number, time_range, size=size, fps=fps, timeout=timeout)


def _check_url(url: str) -> None:
    name = redact(url)
    scheme = name.split("://")[0].lower()
    if scheme in _OPTIONAL_SCHEMES and not has_protocol(scheme):
        raise SourceError(
            f"{name}: the FFmpeg of the installed PyAV is built without {scheme.upper()}; use a PyAV that is built "
            f"with it, or another protocol: {', '.join(URL_SCHEMES)}"
        )
    if scheme not in URL_SCHEMES + _OPTIONAL_SCHEMES:
        raise SourceError(f"{name}: {scheme}:// is not supported; allowed: {', '.join(URL_SCHEMES)}; or a path")
    if not re.match(r"[^/?#]", url.split("://", 1)[1].rpartition("@")[2]):
        raise SourceError(f"{name}: the URL names no host; write for example rtsp://192.168.1.20/stream")


def _url(url: str, time_range: TimeRange, timeout: float, decode: str, stream: int | None, *, light: bool) -> Source:
    url = with_known_scheme(url)
    name = redact(url)
    _check_url(url)

    def opened() -> FrameSource:
        return open_media(url, name, time_range, timeout=timeout, decode=decode, stream=stream, light=light)

    return opened() if light else BackgroundSource(opened, name, timeout)


def _check_path(path: Path) -> None:
    if not path.exists():
        raise SourceError(f"{redact(str(path))!r} does not exist; {_KINDS}")
    if not path.is_file() and not path.is_dir():
        raise SourceError(f"{str(path)!r} is neither file nor folder; {_KINDS}")


def _path(
    path: Path, time_range: TimeRange, decode: str, stream: int | None, max_pixels: int, *, light: bool
) -> FrameSource:
    name = printable(path)
    if is_folder(path):
        _refuse_gpu(name, decode)
        _refuse_stream(name, stream)
        return open_folder(path, time_range, max_pixels)
    _check_path(path)
    if is_image_file(path):
        _refuse_gpu(name, decode)
        _refuse_stream(name, stream)
        return open_image(path, time_range, max_pixels)
    if path.stat().st_size == 0:
        raise SourceError(f"{name}: the file is empty (0 bytes); give a whole video or image file")
    # Use an absolute path, because FFmpeg parses "name:rest" as a protocol.
    return open_media(str(path.absolute()), name, time_range, decode=decode, stream=stream, light=light)


def _pattern(text: str, time_range: TimeRange, size: tuple[int, int] | None, fps: float | None) -> FrameSource:
    live, seconds, seed = _pattern_options(text)
    if live:
        _no_start(text, time_range)
    rate = Fraction(30) if fps is None else Fraction(fps).limit_denominator(1001)
    motion = CameraMotion(size or (640, 360), rate=rate, seconds=seconds, seed=seed)
    info = SourceInfo(text, 0, 0, rate, motion.frames, float(motion.frames / rate), live)
    closing = threading.Event()
    return FrameSource(
        _render(motion, time_range.start or 0.0, closing if live else None), info, time_range, closing=closing
    )


def _pattern_options(text: str) -> tuple[bool, float, int]:
    """Parse ``pattern:[live][?seconds=S&seed=N]`` and return live, seconds and seed.

    Raises:
        SourceError: the text is not such a pattern.
    """
    mode, _, query = text.removeprefix(_PATTERN).partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    try:
        seconds, seed = float(options.pop("seconds", "10")), int(options.pop("seed", "0"))
        if mode in ("", "live") and not options and 0 < seconds < 1e6 and seed >= 0:
            return mode == "live", seconds, seed
    except ValueError:
        seconds = math.nan
    raise SourceError(
        f"{redact(text)!r} is not a pattern; allowed: pattern: or pattern:live, optionally with ?seconds=5&seed=1"
    )


def _render(motion: CameraMotion, start: float, pace: threading.Event | None) -> Images:
    """Yield frames of the pattern from ``start`` seconds on; with ``pace``, in real time until that event is set."""
    begun = time.monotonic()
    for index in range(math.floor(start * motion.rate), motion.frames):
        due = float(index / motion.rate)
        image = motion.render(index)
        if pace and pace.wait(max(begun + due - time.monotonic(), 0.0)):
            return
        yield image, due, index
