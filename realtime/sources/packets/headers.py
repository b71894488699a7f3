"""Description of a source from the headers of its container, before any frame is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.format import Flags
from av.video.stream import VideoStream

from ..base import Media, SourceInfo
from .container import exact, rate_of
from .stored import is_stored

_LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "tcp")
_ONE_IMAGE = ("_pipe", "image2")  # formats of single images that FFmpeg reads, such as DPX


def has_no_timestamps(container: InputContainer) -> bool:
    """Return True for a stream of images alone, of unknown length, such as MJPEG or raw H.264 from a camera."""
    flags: Any = container.format.flags
    return bool(flags & Flags.no_timestamps.value) and (container.size or -1) < 0


def described(container: InputContainer, stream: VideoStream, media: Media, name: str) -> SourceInfo:
    """Return the description of the headers; width and height come with the first frame."""
    rate = rate_of(stream)
    duration = _duration(container, stream)
    if container.format.name == "avi" and stream.frames and rate:
        duration = float(stream.frames / rate)  # FFmpeg shortens that of a truncated file
    sound = media if container.streams.audio else None
    local = media.timeout is None
    is_finite = duration is not None or (container.size or -1) > 0
    if not local and (not is_finite or media.location.split("://")[0].lower() in _LIVE_SCHEMES):
        return SourceInfo(name, 0, 0, rate, live=True, sound=sound)
    frames = stream.frames or (round(duration * rate) if duration and rate else None)
    if local and container.format.name.endswith(_ONE_IMAGE):
        frames, rate, duration = 1, None, None
    files = (Path(media.location),) if local and not is_stored(media.location) else ()
    return SourceInfo(name, 0, 0, rate, frames, duration, files=files, sound=sound)


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and (base := exact(stream.time_base)):
        # A late segment of MP4 counts from the beginning of the whole.
        late = stream.start_time or 0 if not stream.frames and container.format.name.startswith("mov") else 0
        return float((stream.duration - (late if 0 < late < stream.duration else 0)) * base)
    if container.duration is None:
        return None
    late = max(container.start_time or 0, 0) if container.format.name.startswith("matroska") else 0
    # In Matroska, FFmpeg counts the duration from 0, not from the first packet.
    return (container.duration - (late if late < container.duration else 0)) / av.time_base
