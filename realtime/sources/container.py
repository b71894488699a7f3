"""Opening of video files and streams with FFmpeg, for images and for sound."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from .base import Media

# Accept metadata tags that are not valid UTF-8. PyAV 19 accepts them by default and no longer has the option.
_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if hasattr(InputContainer, "metadata_errors") else {}


def open_container(media: Media, accelerator: HWAccel | None = None) -> InputContainer:
    """Open a file or stream. The caller closes it.

    Raises:
        av.FFmpegError: it cannot be opened. The error contains the whole URL: show only its ``reason``.
    """
    options = {"rtsp_transport": "tcp"} if media.location.lower().startswith("rtsp") else {}
    container: InputContainer = av.open(
        media.location, "r", timeout=media.timeout, container_options=options, hwaccel=accelerator, **_TAGS
    )
    return container


class Ratio(Protocol):
    """Rational number of PyAV: ``fractions.Fraction`` up to version 18, ``AVRational`` from 19 on."""

    @property
    def numerator(self) -> int:
        """Numerator."""

    @property
    def denominator(self) -> int:
        """Denominator."""


def exact(ratio: Ratio | None) -> Fraction | None:
    """Return a rate or time base of PyAV as a ``Fraction``, or None if it is unknown.

    PyAV 19 does not use None for an unknown value, but an ``AVRational`` with a zero in it, which is falsy.
    """
    return Fraction(ratio.numerator, ratio.denominator) if ratio else None


def reason(error: av.FFmpegError) -> str:
    """Return the text of an error without its file name, which may contain a password."""
    if isinstance(error, av.ExitError):
        return "it does not answer"
    return error.strerror or type(error).__name__
