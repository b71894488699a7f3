"""Base types of sources: their interface, description and time range."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from ...engines.closing import Closing
from ...engines.errors import SourceError
from ..faces.frame import DeviceFrame, Frame
from ..images.pixels import Pixels
from ..values.arrays import Image

# An upright BGR image, on the host or on a device, its time in seconds and its number in the source.
TimedImage = tuple[Image | Pixels, float, int]
Images = Generator[TimedImage, None, None]


@dataclass(frozen=True, slots=True)
class Media:
    """File or stream that FFmpeg opens.

    Attributes:
        location: absolute path or URL; not shown in ``repr`` because it may contain a password.
        timeout: seconds without data after which a stream counts as dead; None for a file.
        stream: number of the video stream to read; None for the default one.
        zero: timestamp of the first frame in seconds, from which the times of the frames count.
    """

    location: str = field(repr=False)
    timeout: float | None = None
    stream: int | None = None
    zero: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Description of a source.

    Attributes:
        name: name of the source in messages, in ``Frame.source`` and in landmark files: a path as it was given, a URL
            without user, password and query, ``camera N``, or the text of a pattern.
        width: width in pixels of the first frame, upright.
        height: height in pixels of the first frame, upright.
        rate: frames per second, on average if variable; None if unknown.
        frames: estimated number of frames; None if unknown.
        duration: estimated duration in seconds; None if unknown.
        live: True if frames arrive in real time (camera, stream, paced pattern) and are lost if not read in time.
        files: local files that the source reads, which no output may replace.
        sound: media from which to read its sound for an annotated video; None if there is none.
        pixel_aspect: width of a pixel divided by its height, upright. Images are as stored, never stretched; an
            annotated video has the same pixels.
        wide_gamut: True if colours have the primaries of BT.2020; an annotated video keeps them.
    """

    name: str
    width: int
    height: int
    rate: Fraction | None = None
    frames: int | None = None
    duration: float | None = None
    live: bool = False
    files: tuple[Path, ...] = ()
    sound: Media | None = None
    pixel_aspect: Fraction = Fraction(1)
    wide_gamut: bool = False


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Requested part of a source: ``start <= time < end`` in seconds; None means no bound."""

    start: float | None = None
    end: float | None = None

    def of(self, info: SourceInfo) -> SourceInfo:
        """Return the description of a source limited to this time range."""
        if info.duration is None or (self.start is None and self.end is None):
            return info
        end = info.duration if self.end is None else min(self.end, info.duration)
        duration = max(end - (self.start or 0.0), 0.0)
        frames = None if info.rate is None else max(round(duration * info.rate), 1)
        return replace(info, frames=frames, duration=duration)


class Source(Protocol):
    """Frames of one video, in order: an iterator and a context manager.

    Times and indices strictly increase; both are those of a whole read, also with a start, and ``source`` is the name
    of ``info``. An error while reading is raised as ``SourceError`` after the last good frame.
    """

    @property
    def info(self) -> SourceInfo:
        """Description of the source."""
        ...

    def __iter__(self) -> Self:
        """Return the source itself; each frame is returned once."""
        ...

    def __next__(self) -> Frame:
        """Read the next frame."""
        ...

    def close(self) -> None:
        """Release all resources and end the iteration. From another thread, it also ends a blocked read."""
        ...

    def __enter__(self) -> Self:
        """Return the source itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        ...


class Arrival:
    """Time and damage of the data that arrive, set by a reader for others to ask. It keeps no reference to the reader.

    Attributes:
        time: ``time.monotonic()`` of the arrival of the newest data; None if it is not known.
        damaged: number of packets so far that could not be decoded.
    """

    __slots__ = ("damaged", "time")

    def __init__(self) -> None:
        """Start before the first data."""
        self.time: float | None = None
        self.damaged = 0

    def __call__(self) -> float:
        """Return the time, or the present one if it is not known."""
        return time.monotonic() if self.time is None else self.time


class FrameSource(Closing):
    """Source over a generator of images, which releases its resources when it is closed.

    The first image is read immediately, so a file that cannot be decoded is reported before any work starts.

    Attributes:
        arrival: when the data of the newest frame arrived, before its decoding, and how many were damaged.
    """

    arrival: Arrival

    def __init__(
        self, images: Images, info: SourceInfo, time_range: TimeRange, *, closing: threading.Event | None = None
    ) -> None:
        """Take ownership of ``images`` and read the first one, which sets width and height of ``info``.

        Args:
            ``images``: generator of images with strictly increasing times and numbers.
            info: description of the whole source, before it is limited to the time range.
            time_range: requested part.
            closing: event set by ``close``, for a generator that waits.

        Raises:
            SourceError: no image is within the time range.
        """
        self.arrival = Arrival()
        self._images, self._time_range = images, time_range
        self._closing = closing or threading.Event()
        self._lock = threading.Lock()  # a generator cannot be closed while it runs in another thread
        self._first: TimedImage | None = self._begin(info)
        height, width = self._first[0].shape[:2]
        self.info: SourceInfo = time_range.of(replace(info, width=width, height=height))

    def _begin(self, info: SourceInfo) -> TimedImage:
        start, end = self._time_range.start or 0.0, self._time_range.end
        last = None
        for image in self._images:
            last = image[1]
            if last < start:
                continue
            if end is None or last < end:
                return image
            break
        self._images.close()
        raise SourceError(_nothing(info, self._time_range, last))

    def __iter__(self) -> Self:
        """Return the source itself; each frame is returned once."""
        return self

    def __next__(self) -> Frame:
        """Read the next frame.

        Raises:
            StopIteration: the source has ended or was closed.
            SourceError: reading failed.
        """
        with self._lock:
            if self._closing.is_set():
                raise StopIteration
            image, self._first = self._first or next(self._images), None
            pixels, time, index = image
            if self._time_range.end is not None and time >= self._time_range.end:
                self._images.close()
                raise StopIteration
            if isinstance(pixels, np.ndarray):
                return Frame(pixels, time, index, self.info.name)
            return DeviceFrame(pixels, time, index, self.info.name)

    def close(self) -> None:
        """Release all resources. Calling it again does nothing."""
        self._closing.set()
        with self._lock:
            self._first = None
            self._images.close()


def _nothing(info: SourceInfo, time_range: TimeRange, last: float | None) -> str:
    """Describe why no image was found."""
    if time_range.start is None and time_range.end is None:
        return f"{info.name}: no frame in it can be decoded; it is damaged or empty"
    if last is not None and last >= (time_range.start or 0.0):
        begin, end = time_range.start or 0.0, time_range.end
        return f"{info.name}: no frame lies between {begin:g} s and {end:g} s; widen the time range"
    length = f"lasts {info.duration:.2f} s" if info.duration is not None else "ends before"
    return f"{info.name}: start is {time_range.start:g} s, but it {length}; give an earlier start"
