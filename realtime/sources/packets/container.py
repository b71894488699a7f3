"""Opening of video files and streams with FFmpeg, and choice of their streams, for images and for sound."""

from __future__ import annotations

import ctypes
import re
from fractions import Fraction
from typing import Any, Protocol

import av
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from ....engines.errors import SourceError
from ..base import Media
from .stored import is_stored, open_stored

WHOLE = "give a whole video or image file"
_PROBE = 5.0  # seconds, the default of FFmpeg
_FASTEST = 20_000  # frames per second; more is a wrong value, as FFmpeg has of DV
_DEFAULT = 5_000_000  # pixels that a stream marked as the default counts more, as in ffmpeg

# Accept metadata tags that are not valid UTF-8. PyAV 19 accepts them by default and no longer has the option.
_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if hasattr(InputContainer, "metadata_errors") else {}

# What FFmpeg reads in the query of an RTSP address.
_TRANSPORT = re.compile(r"[?&](tcp|udp|multicast|http|https)(&|=|$)", re.IGNORECASE)


def open_container(media: Media, accelerator: HWAccel | None = None) -> InputContainer:
    """Open a file or stream. The caller closes it.

    Raises:
        av.FFmpegError: it cannot be opened. The error contains the whole URL: show only its ``reason``.
        SourceError: it is in storage that cannot be reached.
    """
    options = {"pattern_type": "none"}  # an image called s%d.dpx is itself, not the images s1.dpx, s2.dpx …
    if media.location.lower().startswith("rtsp"):
        chosen = _TRANSPORT.search(media.location)
        if chosen is None:
            options["rtsp_flags"] = "prefer_tcp"  # then UDP
        elif chosen[1].lower() == "tcp":  # FFmpeg alone would fall back to UDP
            options["rtsp_transport"] = "tcp"
    if media.timeout is not None:  # it interrupts probing, and an interrupted RTMP stream cannot be read further
        options["analyzeduration"] = str(int(min(media.timeout / 2, _PROBE) * av.time_base))
    file = open_stored(media.location) if media.timeout is None and is_stored(media.location) else media.location
    container: InputContainer = av.open(
        file, "r", timeout=media.timeout, container_options=options, hwaccel=accelerator, **_TAGS
    )
    return container


def has_protocol(scheme: str) -> bool:
    """Return whether FFmpeg is built with a protocol such as ``srt``."""
    try:
        av.open(f"{scheme}:").close()
    except av.error.ProtocolNotFoundError:
        return False
    except av.FFmpegError:  # it misses the host
        pass
    return True


def choose_video(container: InputContainer, number: int | None, name: str) -> VideoStream:
    """Return the video stream to read.

    By default it is the one that ffmpeg chooses: that with the most pixels, where one that is marked as the default
    counts as 5 million more, and the first of several. A cover image of an audio file does not count.

    Args:
        container: an open file or stream.
        number: number of the stream among all of the container; None for the default.
        name: name of the source for messages.

    Raises:
        SourceError: there is no such stream, or its codec is unknown.
    """
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if container.format.name == "tty" or not (streams or container.streams.audio):
        raise SourceError(f"{name}: no video in it, or damaged; {WHOLE}")
    if not streams:
        raise SourceError(f"{name}: it has sound but no video; give a file with a video stream")
    known = [stream for stream in streams if stream.codec_context is not None]
    if number is not None:
        known = [stream for stream in known if stream.index == number]
        if not known:
            allowed = ", ".join(str(stream.index) for stream in streams)
            raise SourceError(
                f"{name}: stream {number} is not a video that can be decoded; its video streams: {allowed}"
            )
    if not known:
        raise SourceError(f"{name}: its codec is unknown to this build of FFmpeg; convert it to H.264 first")
    return max(known, key=_rank)


def _rank(stream: VideoStream) -> int:
    return stream.width * stream.height + _DEFAULT * bool(stream.disposition & Disposition.default)


def rate_of(stream: VideoStream) -> Fraction | None:
    """Return the frames per second of a stream, on average if variable; None if unknown."""
    rates = (exact(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate))
    return next((rate for rate in rates if rate and rate <= _FASTEST), None)


def choose_sound(container: InputContainer, video: VideoStream) -> AudioStream | None:
    """Return the sound stream that goes with ``video``; None if there is none that can be decoded.

    It is the one that FFmpeg chooses, or the first one if none has a sample rate yet.
    """
    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    best = container.streams.best("audio", related=video) if streams else None
    return best if best in streams else next(iter(streams), None)


def channels_of(stream: AudioStream) -> int:
    """Return the number of channels of a sound stream, which is safe to decode afterwards.

    Before version 19, PyAV frees the memory of a custom channel layout, as of a MOV file with 8 channels, once with
    each object that describes it, and the process aborts. So the decoder gets a layout without an order, in which
    FFmpeg assumes the usual one, and the object with the custom layout is never freed.
    """
    layout = stream.codec_context.layout
    if _is_custom(layout):
        _keep_forever(layout)
        stream.codec_context.layout = f"{layout.nb_channels}C"
    return layout.nb_channels


def has_custom_layout(frame: AudioFrame) -> bool:
    """Return True if the decoder gave a frame a custom channel layout, which is then never freed (``channels_of``)."""
    custom = _is_custom(frame.layout)
    if custom:
        _keep_forever(frame.layout)
    return custom


def _is_custom(layout: AudioLayout) -> bool:
    """Return True if a layout is not one of FFmpeg's own: its name lists the channels, as in "2 channels (FR+FL)"."""
    return "(" in layout.name or "+" in layout.name


def _keep_forever(layout: AudioLayout) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))


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
