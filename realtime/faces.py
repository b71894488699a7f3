"""Frames and faces, the two types that pass through the pipeline."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Never, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..engines.errors import NasionError
from .geometry import Region, from_crops, region_of_points, roll, warp
from .images.inputs import Channels, ImageInMemory, bgr_of, in_order_of
from .schemes import AFLW_19, AFLW_21, COFW_29, IBUG_68, JD_106, SCHEMES, USUAL, WFLW_98, LandmarkScheme, scheme_of
from .values.arrays import FloatArray, Image
from .values.numeric import finite, is_whole
from .values.times import seconds_of

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
    "EyeOpening",
    "Face",
    "FloatArray",
    "Frame",
    "Image",
    "LandmarkScheme",
    "Landmarks",
    "Pose",
    "scheme_of",
]

SELF_OCCLUDED, OCCLUDED, VISIBLE = 0, 1, 2
"""Values of ``Face.visibility``."""
_LARGEST_CROP = 8192  # pixels
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


class Landmarks(np.ndarray[Any, np.dtype[np.float32]]):
    """Landmarks of a face: a float32 array (n, 2) of x, y that can also be indexed by part name.

    ``landmarks["left_eye"]`` is an array (k, 2) of the landmarks of that part. ``landmarks[36]`` and any other index
    behave as for a plain array. Part names are those of the scheme.

    Attributes:
        scheme: the landmark scheme; None if it is unknown.

    Examples:
        >>> import nasion
        >>> (face,) = nasion.detect("face.png")
        >>> face.landmarks["left_eye"].shape, face.landmarks[36].shape, face.landmarks.scheme.name
        ((6, 2), (2,), 'ibug-68')
    """

    scheme: LandmarkScheme | None

    def __new__(cls, points: ArrayLike, scheme: LandmarkScheme | None = None) -> Self:
        """Build landmarks of a scheme from points (n, 2)."""
        array = np.asarray(points, np.float32).view(cls)
        array.scheme = scheme
        return array

    def __array_finalize__(self, parent: object) -> None:
        """Copy the scheme from the parent array."""
        self.scheme = getattr(parent, "scheme", None)

    def __getitem__(self, key: Any) -> Any:
        """Return the landmarks of a part by its name; any other key indexes as in a plain array.

        Raises:
            NasionError: the scheme has no such part, or is unknown.
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
        """Pickle the landmarks with their scheme."""
        return Landmarks, (np.array(self), self.scheme)


@dataclass(frozen=True, slots=True)
class Pose:
    """Pose of a head relative to the camera.

    Axes of the camera: x to the right of the image, y down, z away from the camera. A head with all angles 0 looks
    along -z, straight back. The angles are right-handed rotations: the head is rotated by roll about z, then by pitch
    about x, then by yaw about y, so yaw and pitch are the direction in which the face looks; see docs/measures.md.

    Attributes:
        yaw: degrees in -180..180; positive where the face looks to the left of the image.
        pitch: degrees in -90..90; positive where the face looks down.
        roll: degrees in -180..180; positive where the head is tilted clockwise in the image.
        translation: x, y, z in millimetres of the nasion, the root of the nose, for a head whose pupils are 63 mm
            apart. The unknown size of the head and the focal length scale z, the distance.
        focal_length: focal length in pixels of the camera that was assumed; None if it is unknown. The optical axis
            goes through the middle of the image.

    Examples:
        >>> import nasion
        >>> (face,) = nasion.detect("face.png", measures=("pose",))
        >>> abs(face.pose.yaw) < 30, face.pose.rotation.shape
        (True, (3, 3))
    """

    yaw: float
    pitch: float
    roll: float
    translation: tuple[float, float, float]
    focal_length: float | None = None

    @property
    def rotation(self) -> NDArray[np.float64]:
        """Rotation matrix (3, 3) from axes of the head to axes of the camera."""
        (cy, sy), (cp, sp), (cr, sr) = (
            (math.cos(angle), math.sin(angle)) for angle in map(math.radians, (self.yaw, self.pitch, self.roll))
        )
        return np.array(
            [
                [cy * cr + sy * sp * sr, sy * sp * cr - cy * sr, sy * cp],
                [cp * sr, cp * cr, -sp],
                [cy * sp * sr - sy * cr, sy * sr + cy * sp * cr, cy * cp],
            ]
        )


class EyeOpening(NamedTuple):
    """Openings of both eyes; see ``realtime.measures.openings``.

    Attributes:
        left: eye on the left of an upright face in the image.
        right: the other eye.

    Examples:
        >>> import nasion
        >>> (face,) = nasion.detect("face.png", measures=("eyes", "mouth"))
        >>> 0.1 < face.eye_opening.left < 0.5, face.mouth_opening > 0
        (True, True)
    """

    left: float
    right: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Face:
    """One face in one frame. Coordinates are pixels of the frame; the centre of its top-left pixel is (0, 0).

    Use ``dataclasses.replace`` to change a face. Two faces are equal if all their values are equal, so ``face in
    faces`` works. Faces are sorted by track ID.

    Attributes:
        id: track ID, from 1; constant for as long as the tracker tracks the face.
        box: (4,) float32 bounding box of the landmarks: x0, y0, x1, y1.
        score: probability in 0..1 that the mean error of the landmarks is at most 10 % of the distance between the
            outer eye corners, if the network is calibrated (``nasion calibrate``); otherwise that a face is there.
        landmarks: (n, 2) float32: x, y of each landmark in the order of its scheme; can be indexed by part name.
        confidence: (n,) float32 in 0..1: probability that the error of the landmark is within 10 % of the inter-ocular
            distance.
        visibility: (n,) uint8: 0 self-occluded, 1 occluded, 2 visible; None if the network does not predict it.
        pose: head pose; None if it is not measured (``measures``).
        scheme: name of the landmark scheme; empty for the usual one with that many landmarks, if any.
        eye_opening: openings ``left`` and ``right``: distance between the lids over the width of the eye, about 0.3 for
            an open eye; None if they are not measured.
        mouth_opening: distance between the inner lips over the width of the mouth; None if it is not measured.

    Examples:
        >>> import nasion
        >>> faces = nasion.detect("face.png")
        >>> face = faces[0]
        >>> face in faces, face.id, face.landmarks.shape, sorted(face.to_dict())
        (True, 1, (68, 2), ['box', 'confidence', 'id', 'landmarks', 'score'])
    """

    id: int
    box: FloatArray
    score: float
    landmarks: Landmarks
    confidence: FloatArray
    visibility: NDArray[np.uint8] | None = None
    pose: Pose | None = None
    scheme: str = ""
    eye_opening: EyeOpening | None = None
    mouth_opening: float | None = None

    if not TYPE_CHECKING:  # type checkers take the signature from the fields

        def __new__(cls, *values: Any, **named: Any) -> Self:
            """Refuse ``points``, the name of ``landmarks`` until version 0.1, also from ``dataclasses.replace``."""
            if "points" in named:
                raise NasionError("Face takes landmarks, not points, since nasion 0.2; give landmarks=…")
            return object.__new__(cls)

    def __post_init__(self) -> None:
        """Attach the scheme to the landmarks."""
        if type(self.landmarks) is Landmarks:
            attached = self.landmarks.scheme.name if self.landmarks.scheme else ""
            if not self.scheme or attached == self.scheme:
                return
        scheme = SCHEMES.get(self.scheme) if self.scheme else scheme_of(len(self.landmarks))
        object.__setattr__(self, "landmarks", Landmarks(self.landmarks, scheme))

    @property
    def points(self) -> Never:
        """Raise an error that points to ``landmarks``, the name since version 0.2."""
        raise AttributeError("Face.points is Face.landmarks since nasion 0.2; use face.landmarks")

    def crop(
        self, image: ImageInMemory, size: int, *, margin: float = 1.5, channels: Channels = "bgr"
    ) -> tuple[Image, FloatArray]:
        """Return the face upright in a square crop, with the transform from the crop back to the image.

        The crop is centred on the landmarks and turned so that the face is upright; without landmarks, or if their
        scheme is unknown, it is not turned.

        Args:
            image: image in which the face was found, as for ``nasion.detect``, but no path.
            size: side of the crop in pixels.
            margin: side of the crop over the longer side of the face's landmarks.
            channels: order of the colours of an array.

        Returns:
            Crop (size, size, 3) of uint8 with the colours in the order of the image, black outside of it; and transform
            (2, 3) float32, which maps points (n, 2) of the crop to the image: ``points @ back[:, :2].T + back[:, 2]``.

        Raises:
            NasionError: the image is not one, a number is not allowed, or the face has coordinates that are not finite.

        Examples:
            >>> import cv2
            >>> import nasion
            >>> image = cv2.imread("face.png")
            >>> (face,) = nasion.detect(image)
            >>> crop, back = face.crop(image, 112)
            >>> crop.shape, back.shape
            ((112, 112, 3), (2, 3))
        """
        if not is_whole(size) or not 1 <= size <= _LARGEST_CROP:
            raise NasionError(f"size={size!r:.60} is not allowed; give pixels from 1 to {_LARGEST_CROP}")
        if (checked := finite(margin)) is None or checked <= 0:
            raise NasionError(f"margin={margin!r:.60} is not allowed; give a number above 0, such as 1.5")
        region = self._region(checked)
        crop = warp(bgr_of(image, channels), region.to_crop(size), size)
        return in_order_of(image, channels, crop), from_crops([region], size)[0]

    def _region(self, margin: float) -> Region:
        """Return the upright region around the landmarks, or around the bounding box if there are none."""
        points = np.asarray(self.landmarks) if len(self.landmarks) else self.box.reshape(2, 2)
        if not np.isfinite(points).all():
            raise NasionError(f"{self!r} has coordinates that are not finite; it cannot be cropped")
        scheme = self.landmarks.scheme if len(self.landmarks) else None
        return region_of_points(points, margin=margin, angle=roll(points, scheme) if scheme else 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the face as in a landmark file: plain numbers and lists, ready for ``json.dumps``.

        Keys are ``id``, ``box``, ``score``, ``landmarks`` and ``confidence``; if they are known also ``visibility``,
        ``yaw``, ``pitch``, ``roll`` and ``head_x``, ``head_y``, ``head_z`` of the pose, ``eye_left``, ``eye_right`` and
        ``mouth``. Pixels and degrees are rounded to 0.01, millimetres to 0.1, all else to 0.0001.
        """
        values = {
            "id": self.id,
            "box": _rounded(self.box, 2),
            "score": round(float(self.score), 4),
            "landmarks": _rounded(self.landmarks, 2),
            "confidence": _rounded(self.confidence, 4),
        }
        if self.visibility is not None:
            values["visibility"] = self.visibility.tolist()
        if self.pose is not None:
            x, y, z = _rounded(self.pose.translation, 1)
            yaw, pitch, roll = _rounded((self.pose.yaw, self.pose.pitch, self.pose.roll), 2)
            values |= {"yaw": yaw, "pitch": pitch, "roll": roll, "head_x": x, "head_y": y, "head_z": z}
        if self.eye_opening is not None:
            values["eye_left"], values["eye_right"] = _rounded(self.eye_opening, 4)
        if self.mouth_opening is not None:
            values["mouth"] = round(self.mouth_opening, 4)
        return values

    def __lt__(self, other: Face) -> bool:
        """Order faces by track ID."""
        return self.id < other.id if isinstance(other, Face) else NotImplemented

    def __eq__(self, other: object) -> bool:
        """Return True if all values are equal."""
        if not isinstance(other, Face):
            return NotImplemented
        ours, theirs = (tuple(getattr(face, each.name) for each in fields(Face)) for face in (self, other))
        return all(map(_equal, ours, theirs))

    __hash__: ClassVar[None]  # type: ignore[assignment]  # its arrays are mutable

    def __repr__(self) -> str:
        """Return one line that shows arrays by their shapes."""
        box = ", ".join(f"{value:.1f}" for value in np.asarray(self.box).ravel()[:4].tolist())
        scheme = f" {self.scheme}" if self.scheme else ""
        return f"Face(id={self.id}, box=[{box}], score={self.score:.3f}, landmarks={self.landmarks.shape}{scheme})"


def _rounded(values: Any, decimals: int) -> Any:
    # Rounded as float64, because a float32 of 0.1 would be printed with all digits of its binary value.
    return np.asarray(values, np.float64).round(decimals).tolist()


def _equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a is not None and b is not None and np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
    return bool(a == b)


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
