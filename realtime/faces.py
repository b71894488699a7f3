"""Frames and faces, the two things that travel through the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Never, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..engines.errors import NasionError
from .arrays import FloatArray, Image
from .numeric import is_whole
from .schemes import AFLW_19, AFLW_21, COFW_29, IBUG_68, JD_106, SCHEMES, USUAL, WFLW_98, LandmarkScheme, scheme_of
from .times import seconds_of

if TYPE_CHECKING:
    from .images.pixels import Pixels

__all__ = [
    "AFLW_19",
    "AFLW_21",
    "COFW_29",
    "IBUG_68",
    "JD_106",
    "SCHEMES",
    "USUAL",
    "WFLW_98",
    "DeviceFrame",
    "Face",
    "FloatArray",
    "Frame",
    "Image",
    "LandmarkScheme",
    "Landmarks",
    "scheme_of",
]

_BYTES, _BGR = np.dtype(np.uint8), (3,)  # what a picture is made of, and its shape after height and width


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Frame:
    """One image of a video. Frames are compared by identity.

    Attributes:
        image: BGR, uint8, (height, width, 3), upright.
        time: seconds, strictly increasing within a video: since its start, or of any other clock. Kept as a float.
        index: number of the frame within the source, from 0. Kept as an int.
        source: name of the source; None for the only one.
    """

    image: Image
    time: float
    index: int
    source: str | None = None

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

    def __repr__(self) -> str:
        """In one line, the image by its size."""
        named = "" if self.source is None else f", source={self.source!r}"
        return f"{type(self).__name__}({self.width}x{self.height}, time={self.time:.6g}, index={self.index}{named})"


class DeviceFrame(Frame):
    """A frame whose pixels lie elsewhere, on a GPU: they come to the host when somebody asks for ``image``, once."""

    __slots__ = ("_pixels",)
    _pixels: Pixels

    def __init__(self, pixels: Pixels, time: float, index: int, source: str | None = None) -> None:
        """Make a frame of these pixels."""
        for name, value in (("_pixels", pixels), ("time", time), ("index", index), ("source", source)):
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
        return type(self)(self._pixels.copy(), self.time, self.index, self.source)

    def __repr__(self) -> str:
        """In one line, without fetching the image."""
        return f"DeviceFrame({self._pixels!r}, time={self.time}, index={self.index})"


class Landmarks(np.ndarray[Any, np.dtype[np.float32]]):
    """Landmarks of a face: a float32 array (n, 2) of x, y that also takes the names of parts.

    ``landmarks["left_eye"]`` is an array (k, 2) of the landmarks of that part; ``landmarks[36]`` and all else is as of
    any array. Part names are those of the scheme.

    Attributes:
        scheme: the scheme; None where it is not known.
    """

    scheme: LandmarkScheme | None

    def __new__(cls, points: ArrayLike, scheme: LandmarkScheme | None = None) -> Self:
        """View points (n, 2) as landmarks of a scheme."""
        array = np.asarray(points, np.float32).view(cls)
        array.scheme = scheme
        return array

    def __array_finalize__(self, parent: object) -> None:
        """Take over the scheme of the array that this one is made from."""
        self.scheme = getattr(parent, "scheme", None)

    def __getitem__(self, key: Any) -> Any:
        """Return the landmarks of a part by its name, or what any array returns.

        Raises:
            NasionError: the scheme has no such part, or is not known.
        """
        if not isinstance(key, str):
            return np.asarray(self)[key]
        if self.scheme is None:
            raise NasionError(
                f"these {len(self)} landmarks have no part {key!r}: their scheme is not known; use indices, or make "
                "the scheme known with nasion.add_scheme"
            )
        return np.asarray(self)[list(self.scheme.part(key))]

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the scheme when pickled."""
        return Landmarks, (np.array(self), self.scheme)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Face:
    """One face in one frame. Coordinates are pixels of the frame; the centre of its top-left pixel is (0, 0).

    ``dataclasses.replace`` changes a face. Two faces are equal if all their values are.

    Attributes:
        id: identity, from 1, the same for the same person while the tracker follows it.
        box: (4,) float32: x0, y0, x1, y1 around the landmarks.
        score: in 0..1, how sure the network is that a face is there.
        landmarks: (n, 2) float32: x, y of each landmark in the order of its scheme; also takes names of parts.
        confidence: (n,) float32 in 0..1: probability that the landmark lies within 10 % of the inter-ocular distance.
        visibility: (n,) uint8: 0 self-occluded, 1 occluded, 2 visible; None where the network does not tell.
        pose: head pose; None where it is not measured.
        scheme: name of the landmark scheme; empty for the usual one with that many landmarks, if there is one.
    """

    id: int
    box: FloatArray
    score: float
    landmarks: Landmarks
    confidence: FloatArray
    visibility: NDArray[np.uint8] | None = None
    pose: Any = None
    scheme: str = ""

    def __post_init__(self) -> None:
        """Give the landmarks their scheme."""
        if type(self.landmarks) is not Landmarks:
            scheme = SCHEMES.get(self.scheme) if self.scheme else scheme_of(len(self.landmarks))
            object.__setattr__(self, "landmarks", Landmarks(self.landmarks, scheme))

    @property
    def points(self) -> Never:
        """Raise an error that names ``landmarks``, the name since version 0.2."""
        raise AttributeError("Face.points is Face.landmarks since nasion 0.2; use face.landmarks")

    def __eq__(self, other: object) -> bool:
        """Compare all values."""
        if not isinstance(other, Face):
            return NotImplemented
        ours, theirs = (tuple(getattr(face, each.name) for each in fields(Face)) for face in (self, other))
        return all(map(_equal, ours, theirs))

    __hash__ = None  # type: ignore[assignment]  # its arrays can be changed

    def __repr__(self) -> str:
        """In one line, arrays by their shapes."""
        box = ", ".join(f"{value:.1f}" for value in np.asarray(self.box).ravel()[:4].tolist())
        scheme = f" {self.scheme}" if self.scheme else ""
        return f"Face(id={self.id}, box=[{box}], score={self.score:.3f}, landmarks={self.landmarks.shape}{scheme})"


def _equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a is not None and b is not None and np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
    return bool(a == b)


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
