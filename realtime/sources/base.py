"""What every source is: frames in order, an account of itself, and an end that another thread can bring."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from ...engines.closing import Closing
from ...engines.errors import SourceError
from ..faces import DeviceFrame, Frame, Image
from ..images.pixels import Pixels

# An upright BGR picture, or one that lies elsewhere, and its time in seconds.
Picture = Image | Pixels
Pictures = Generator[tuple[Picture, float], None, None]


@dataclass(frozen=True, slots=True)
class Media:
    """A file or stream that FFmpeg opens.

    Attributes:
        location: absolute path, or URL; it may hold a password, and so is not shown.
        timeout: seconds without any data after which a stream counts as dead; None for a file.
    """

    location: str = field(repr=False)
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source says of itself.

    Attributes:
        name: what to call it in a message; never holds a password.
        width: pixels from left to right of the first frame, upright.
        height: pixels from top to bottom of the first frame, upright.
        rate: frames per second, on average where they vary; None where unknown.
        frames: how many frames will come, an estimate; None where unknown.
        duration: seconds that will come, an estimate; None where unknown.
        live: frames come when they will (camera, stream, paced pattern), and are lost if nobody takes them.
        files: what it reads on this machine, and no output may replace.
        sound: where to read its sound, which a video of the result may keep; None where it has none.
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


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The part of a source that is wanted: ``start <= time < end``, seconds; None means no bound."""

    start: float | None = None
    end: float | None = None

    def of(self, info: SourceInfo) -> SourceInfo:
        """The account of a source that is cut so."""
        if info.duration is None or (self.start is None and self.end is None):
            return info
        end = info.duration if self.end is None else min(self.end, info.duration)
        duration = max(end - (self.start or 0.0), 0.0)
        frames = None if info.rate is None else max(round(duration * info.rate), 1)
        return replace(info, frames=frames, duration=duration)


class Source(Protocol):
    """Frames of one video, in order: an iterator and a context manager.

    Times strictly increase, ``index`` counts the frames yielded from 0. An error while reading is a
    ``SourceError``, after the last good frame.
    """

    @property
    def info(self) -> SourceInfo:
        """What the source says of itself."""
        ...

    def __iter__(self) -> Self:
        """Return itself: each frame comes once."""
        ...

    def __next__(self) -> Frame:
        """Read the next frame."""
        ...

    def close(self) -> None:
        """Free everything; from another thread it ends a blocked read. Iterating then just ends."""
        ...

    def __enter__(self) -> Self:
        """Return itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        ...


class FrameSource(Closing):
    """A source over a generator of pictures, which frees what it holds when it is closed.

    The first picture is read at once: a file that cannot be decoded is found out before any work starts.
    """

    def __init__(
        self, pictures: Pictures, info: SourceInfo, time_range: TimeRange, *, closing: threading.Event | None = None
    ) -> None:
        """Take over ``pictures``; width and height of ``info`` come from the first of them.

        Args:
            pictures: pictures with strictly increasing times.
            info: of the whole source, before the cut.
            cut: the part that is wanted.
            closing: set by ``close`` for a generator that waits.

        Raises:
            SourceError: no picture lies in the cut.
        """
        self._pictures, self._time_range, self._index = pictures, time_range, 0
        self._closing = closing or threading.Event()
        self._lock = threading.Lock()  # a generator cannot be closed while it runs in another thread
        self._first: tuple[Picture, float] | None = self._begin(info)
        height, width = self._first[0].shape[:2]
        self.info = time_range.of(replace(info, width=width, height=height))

    def _begin(self, info: SourceInfo) -> tuple[Picture, float]:
        start, end = self._time_range.start or 0.0, self._time_range.end
        last = None
        for picture in self._pictures:
            last = picture[1]
            if last < start:
                continue
            if end is None or last < end:
                return picture
            break
        self._pictures.close()
        raise SourceError(_nothing(info, self._time_range, last))

    def __iter__(self) -> Self:
        """Return itself: each frame comes once."""
        return self

    def __next__(self) -> Frame:
        """Read the next frame.

        Raises:
            StopIteration: the source has ended or was closed.
            SourceError: it broke off.
        """
        with self._lock:
            if self._closing.is_set():
                raise StopIteration
            picture, self._first = self._first or next(self._pictures), None
            pixels, time = picture
            if self._time_range.end is not None and time >= self._time_range.end:
                self._pictures.close()
                raise StopIteration
            self._index += 1
            if isinstance(pixels, np.ndarray):
                return Frame(pixels, time, self._index - 1)
            return DeviceFrame(pixels, time, self._index - 1)

    def close(self) -> None:
        """Free everything; calling it again does nothing."""
        self._closing.set()
        with self._lock:
            self._first = None
            self._pictures.close()


def _nothing(info: SourceInfo, time_range: TimeRange, last: float | None) -> str:
    """Why no picture was found."""
    if time_range.start is None and time_range.end is None:
        return f"{info.name}: no frame in it can be decoded; it is damaged or empty"
    if last is not None and last >= (time_range.start or 0.0):
        return (
            f"{info.name}: no frame lies between {time_range.start or 0.0:g} s and {time_range.end:g} s; widen the cut"
        )
    length = f"lasts {info.duration:.2f} s" if info.duration is not None else "ends before"
    return f"{info.name}: start is {time_range.start:g} s, but it {length}; give an earlier start"
