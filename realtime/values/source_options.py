"""Options of a source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self, TypedDict

from ...engines.errors import SourceError
from .names import check_names
from .numeric import finite, is_whole

MAX_PIXELS = 175_000_000
"""Default limit of the size of an image: below Pillow's own, and about 1.8 GB while the image is decoded."""
_LAST_START = 1_000_000_000  # seconds; a valid timestamp even in nanoseconds
_LONGEST_WAIT = 86_400  # seconds, a day; the system limits how long a wait may be


class SourceKeywords(TypedDict, total=False):
    """Fields of ``SourceOptions``, which describes them, as keyword arguments for editors and type checkers."""

    start: float | None
    end: float | None
    size: tuple[int, int] | None
    fps: float | None
    timeout: float
    decode: str
    stream: int | None
    max_pixels: int


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Options of a source: keyword arguments of ``nasion.track`` and ``open_source``, and options of the command line.

    Attributes:
        start: time in seconds at which to begin: the first frame has this time or a later one; by default the
            beginning. Not for live sources.
        end: time in seconds before which to stop; by default that of the last frame.
        size: width and height in pixels requested from a camera or pattern; by default that of the camera, and 640 by
            360 for a pattern.
        fps: frames per second requested from a camera or pattern; by default those of the camera, and 30 for a pattern.
        timeout: seconds to wait for a camera or stream to open, and for each frame.
        decode: device that decodes a video file or stream. ``cpu``; ``cuda`` or ``cuda:N`` for an NVIDIA GPU, which is
            an error if the GPU cannot decode it; ``auto`` for the GPU if TensorRT can run the networks there. Images
            decoded on a GPU stay there: ``Frame.image`` copies one to the host on demand.
        stream: number of the video stream in a file or URL that has several, as ffprobe counts them; by default the one
            with the most pixels, where one marked as the default counts as 5 million more.
        max_pixels: largest image file to decode, in width times height. A small file may claim a huge image.

    Examples:
        >>> import nasion
        >>> nasion.SourceOptions(start=1.5).end is None
        True
    """

    start: float | None = None
    end: float | None = None
    size: tuple[int, int] | None = None
    fps: float | None = None
    timeout: float = 10.0
    decode: str = "auto"
    stream: int | None = None
    max_pixels: int = MAX_PIXELS

    if not TYPE_CHECKING:  # type checkers take the signature from the fields

        def __new__(cls, *values: Any, **named: Any) -> Self:
            """Refuse options that do not exist."""
            check_names(named, [each.name for each in fields(cls)])
            return object.__new__(cls)

    def __post_init__(self) -> None:
        """Validate all options, and convert numbers of NumPy to those of Python, which all libraries accept.

        Raises:
            SourceError: a value is not allowed.
        """
        rule = "it must be a number of seconds, 0 or more"
        for name in ("start", "end"):
            if (seconds := self._number(name, rule)) is not None and seconds < 0:
                raise SourceError(f"{name} is {getattr(self, name)!r}; {rule}")
        if self.start is not None and self.start > _LAST_START:
            raise SourceError(
                f"start is {self.start:g} s; it must be at most {_LAST_START} s; milliseconds are divided by 1000"
            )
        if self.end is not None and self.end <= (self.start or 0.0):
            raise SourceError(f"end is {self.end:g} s and start is {self.start or 0.0:g} s; end must come after start")
        if self.size is not None:
            self._check_size(self.size)
        rule = "it must be a number of frames per second above 0"
        if (rate := self._number("fps", rule)) is not None and rate <= 0:
            raise SourceError(f"fps is {self.fps!r}; {rule}")
        rule = f"it must be a number of seconds above 0, at most {_LONGEST_WAIT}"
        if (timeout := self._number("timeout", rule)) is None or not 0 < timeout <= _LONGEST_WAIT:
            raise SourceError(f"timeout is {self.timeout!r}; {rule}")
        self._check_whole("max_pixels", least=1)
        if self.stream is not None:
            self._check_whole("stream", least=0)
        check_decode(self.decode)

    def _number(self, name: str, rule: str) -> float | None:
        """Return an option as a float, or None if it is None; it must be a finite number."""
        value = getattr(self, name)
        if value is None:
            return None
        number = finite(value)
        if number is None:
            raise SourceError(f"{name} is {value!r:.60}; {rule}")
        object.__setattr__(self, name, value if type(value) is int else number)
        return number

    def _check_size(self, size: object) -> None:
        if not (isinstance(size, Sequence) and len(size) == 2 and all(is_whole(side) and side >= 1 for side in size)):
            raise SourceError(f"size is {size!r:.60}; it must be (width, height) in pixels, for example (640, 480)")
        object.__setattr__(self, "size", (int(size[0]), int(size[1])))

    def _check_whole(self, name: str, *, least: int) -> None:
        value = getattr(self, name)
        if not is_whole(value) or value < least:
            raise SourceError(f"{name} is {value!r:.60}; it must be a whole number from {least}")
        object.__setattr__(self, name, int(value))


def check_decode(decode: str) -> None:
    """Check that ``decode`` is ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        SourceError: it is none of these.
    """
    if not isinstance(decode, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", decode):
        raise SourceError(f"decode is {decode!r}; allowed: auto, cpu, cuda, or cuda:N (for example cuda:1)")
