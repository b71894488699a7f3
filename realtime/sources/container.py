"""Open a video file or stream with FFmpeg, for its pictures and again for its sound."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from .base import Media

# Tags that are not valid UTF-8 are no error. PyAV 19 reads such tags by itself and no longer has the option.
_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if hasattr(InputContainer, "metadata_errors") else {}


def open_container(media: Media, accelerator: HWAccel | None = None) -> InputContainer:
    """Open it, to be closed by the caller.

    Raises:
        av.FFmpegError: it cannot be opened. It holds the whole URL: show no more of it than its ``reason``.
    """
    options = {"rtsp_transport": "tcp"} if media.location.lower().startswith("rtsp") else {}
    container: InputContainer = av.open(
        media.location, "r", timeout=media.timeout, container_options=options, hwaccel=accelerator, **_TAGS
    )
    return container


class Ratio(Protocol):
    """A rational number of PyAV: ``fractions.Fraction`` up to version 18, ``AVRational`` from 19 on."""

    @property
    def numerator(self) -> int:
        """The part above the line."""

    @property
    def denominator(self) -> int:
        """The part below the line."""


def exact(ratio: Ratio | None) -> Fraction | None:
    """Return a rate or time base of PyAV as a ``Fraction``, or None where it is unknown.

    PyAV 19 has no None for an unknown value; it gives an ``AVRational`` with a zero in it, which is falsy.
    """
    return Fraction(ratio.numerator, ratio.denominator) if ratio else None


def reason(error: av.FFmpegError) -> str:
    """The error without its file name, which may hold a password."""
    if isinstance(error, av.ExitError):
        return "it does not answer"
    return error.strerror or type(error).__name__
