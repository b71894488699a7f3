"""The two things that travel through the pipeline. The schemes by which points are numbered are handed on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from ..engines.errors import NasionError
from .arrays import FloatArray, Image
from .numeric import is_whole
from .schemes import AFLW_19, AFLW_21, COFW_29, IBUG_68, JD_106, SCHEMES, WFLW_98, LandmarkScheme, scheme_of
from .times import seconds_of

if TYPE_CHECKING:
    from .pixels import Pixels

__all__ = [
    "AFLW_19",
    "AFLW_21",
    "COFW_29",
    "IBUG_68",
    "JD_106",
    "SCHEMES",
    "WFLW_98",
    "DeviceFrame",
    "Face",
    "FloatArray",
    "Frame",
    "Image",
    "LandmarkScheme",
    "scheme_of",
]

_BYTES, _BGR = np.dtype(np.uint8), (3,)  # what a picture is made of, and its shape after height and width


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a video.

    Attributes:
        image: BGR, uint8, (height, width, 3), upright.
        time: seconds, strictly increasing within a video: since its start, or of any other clock. Kept as a float.
        index: number of the frame within the source, from 0. Kept as an int.
    """

    image: Image
    time: float
    index: int

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            NasionError: one is not allowed.
        """
        image = self.image
        if not isinstance(image, np.ndarray) or image.dtype != _BYTES or image.shape[2:] != _BGR or not image.size:
            raise NasionError(_no_picture(image))
        if (seconds := seconds_of(self.time)) is not self.time:
            object.__setattr__(self, "time", seconds)
        if type(self.index) is not int or self.index < 0:
            object.__setattr__(self, "index", _number_of(self.index))

    @property
    def pixels(self) -> Image | Pixels:
        """The picture where it lies, for whoever can use it there; ``image`` is always on the host."""
        return self.image

    @property
    def device(self) -> str:
        """Where the picture lies: ``cpu`` or ``cuda:N``."""
        return "cpu"

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.pixels.shape[0])

    def copy(self) -> Self:
        """The same with pixels of its own, as a decoder has just left them."""
        return replace(self, image=self.image.copy())


class DeviceFrame(Frame):
    """A frame whose pixels lie elsewhere, on a GPU: they come to the host when somebody asks for ``image``, once."""

    __slots__ = ("_pixels",)
    _pixels: Pixels

    def __init__(self, pixels: Pixels, time: float, index: int) -> None:
        """A frame of these pixels."""
        for name, value in (("_pixels", pixels), ("time", time), ("index", index)):
            object.__setattr__(self, name, value)  # as the __init__ of a frozen dataclass does

    @property
    def pixels(self) -> Pixels:
        """The picture where it lies."""
        return self._pixels

    @property
    def device(self) -> str:
        """Where the picture lies, ``cuda:N``."""
        return self._pixels.device

    @property
    def image(self) -> Image:
        """The picture on the host, BGR."""
        return self._pixels.image

    def copy(self) -> Self:
        """The same, not yet on the host."""
        return type(self)(self._pixels.copy(), self.time, self.index)

    def __repr__(self) -> str:
        """In words, without fetching the picture."""
        return f"DeviceFrame({self._pixels!r}, time={self.time}, index={self.index})"


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one frame. Coordinates are pixels of the frame; the centre of its top-left pixel is (0, 0).

    Attributes:
        id: identity, from 1, the same for the same person while the tracker follows it.
        box: (4,) float32: x0, y0, x1, y1 around the points.
        score: in 0..1, how sure the network is that a face is there.
        points: (n, 2) float32: x, y of each landmark in the order of its scheme.
        confidence: (n,) float32 in 0..1: probability that the point lies within 10 % of the inter-ocular distance.
    """

    id: int
    box: FloatArray
    score: float
    points: FloatArray
    confidence: FloatArray


def _no_picture(image: object) -> str:
    if not isinstance(image, np.ndarray):
        hint = "; a capture reads None at the end of a video, or where a camera fails" if image is None else ""
        return f"the image of a frame is a {type(image).__name__}; give a numpy array, BGR uint8{hint}"
    return (
        f"the image of a frame is {image.dtype} of shape {image.shape}; give BGR uint8 of shape (height, width, 3), "
        "of grey pictures cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), of BGRA cv2.cvtColor(bgra, cv2.COLOR_BGRA2BGR)"
    )


def _number_of(index: object) -> int:
    if not is_whole(index) or index < 0:
        raise NasionError(
            f"the index of a frame is {index!r:.60} ({type(index).__name__}); give the number of the frame in its "
            "video, a whole number from 0, such as int(number)"
        )
    return int(index)
