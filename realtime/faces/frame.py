"""Frames: the images of a video, with their time and number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ...engines.errors import NasionError
from ..values.arrays import Image
from ..values.numeric import is_whole
from ..values.times import seconds_of

if TYPE_CHECKING:
    from ..images.pixels import Pixels

_BYTES, _BGR = np.dtype(np.uint8), (3,)  # dtype of an image, and its shape after height and width


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Frame:
    """One image of a video. Frames are compared by identity.

    Attributes:
        image: BGR, uint8, (height, width, 3), upright.
        time: seconds since the start of the video, or of any other clock; strictly increasing within a video. Stored
            as a float.
        index: number of the frame within its source, from 0, wherever reading starts; lost and damaged frames count.
            Stored as an int.
        source: name of the source, ``SourceInfo.name``; None for a frame that no source of ours read.

    Examples:
        >>> import nasion
        >>> import numpy as np
        >>> nasion.Frame(image=np.zeros((480, 640, 3), np.uint8), time=0.04, index=1)
        Frame(640x480, time=0.04, index=1)
    """

    image: Image
    time: float
    index: int
    source: str | None = None

    def __post_init__(self) -> None:
        """Validate all fields.

        Raises:
            NasionError: a value is not allowed.
        """
        image = self.image
        if not isinstance(image, np.ndarray) or image.dtype != _BYTES or image.shape[2:] != _BGR or not image.size:
            raise NasionError(_not_an_image(image))
        if (seconds := seconds_of(self.time)) is not self.time:
            object.__setattr__(self, "time", seconds)
        if type(self.index) is not int or self.index < 0:
            object.__setattr__(self, "index", _number_of(self.index))

    @property
    def pixels(self) -> Image | Pixels:
        """Image on the device that holds it. ``image`` is always on the host."""
        return self.image

    @property
    def device(self) -> str:
        """Device that holds the image: ``cpu`` or ``cuda:N``."""
        return "cpu"

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    def copy(self) -> Self:
        """Return a copy of the frame that owns its pixels, as if freshly decoded."""
        return replace(self, image=self.image.copy())

    def __repr__(self) -> str:
        """Return one line that shows the size of the image instead of its pixels."""
        return f"{type(self).__name__}({self.width}x{self.height}, {self._place()})"

    def _place(self) -> str:
        named = "" if self.source is None else f", source={self.source!r}"
        return f"time={self.time:.6g}, index={self.index}{named}"


class DeviceFrame(Frame):
    """Frame whose pixels are in GPU memory. The first access to ``image`` copies them to the host, once."""

    __slots__ = ("_pixels",)
    _pixels: Pixels

    def __init__(self, pixels: Pixels, time: float, index: int, source: str | None = None) -> None:
        """Build a frame from pixels on a device."""
        for name, value in (("_pixels", pixels), ("time", time), ("index", index), ("source", source)):
            object.__setattr__(self, name, value)  # as the __init__ of a frozen dataclass does

    @property
    def pixels(self) -> Pixels:
        """Image on its device."""
        return self._pixels

    @property
    def device(self) -> str:
        """Device that holds the image, ``cuda:N``."""
        return self._pixels.device

    @property
    def image(self) -> Image:
        """BGR image on the host."""
        return self._pixels.image

    def copy(self) -> Self:
        """Return the same frame, not yet copied to the host."""
        return type(self)(self._pixels.copy(), self.time, self.index, self.source)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the frame with its image on the host."""
        return Frame, (self.image, self.time, self.index, self.source)

    def __repr__(self) -> str:
        """Return one line, without copying the image to the host."""
        return f"DeviceFrame({self._pixels!r}, {self._place()})"


def _not_an_image(image: object) -> str:
    if not isinstance(image, np.ndarray):
        hint = "; a capture returns None at the end of a video, or if a camera fails" if image is None else ""
        return f"the image of a frame is a {type(image).__name__}; give a numpy array, BGR uint8{hint}"
    return (
        f"the image of a frame is {image.dtype} of shape {image.shape}; give BGR uint8 of shape (height, width, 3), "
        "convert a grey image with cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), BGRA with "
        "cv2.cvtColor(bgra, cv2.COLOR_BGRA2BGR)"
    )


def _number_of(index: object) -> int:
    if not is_whole(index) or index < 0:
        raise NasionError(
            f"the index of a frame is {index!r:.60} ({type(index).__name__}); give the number of the frame in its "
            "video, a whole number from 0, such as int(number)"
        )
    return int(index)
