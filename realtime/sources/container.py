"""Open a video file or stream with FFmpeg, for its pictures and again for its sound."""

from __future__ import annotations

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from .base import Media


def open_container(media: Media, accelerator: HWAccel | None = None) -> InputContainer:
    """Open it, to be closed by the caller.

    Raises:
        av.FFmpegError: it cannot be opened. It holds the whole URL: show no more of it than its ``reason``.
    """
    options = {"rtsp_transport": "tcp"} if media.location.lower().startswith("rtsp") else {}
    return av.open(
        media.location,
        timeout=media.timeout,
        container_options=options,
        metadata_errors="replace",
        hwaccel=accelerator,
    )


def reason(error: av.FFmpegError) -> str:
    """The error without its file name, which may hold a password."""
    if isinstance(error, av.ExitError):
        return "it does not answer"
    return error.strerror or type(error).__name__
