"""Faces: the results of tracking and detection."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Never, Self

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import NasionError
from ..images.inputs import Channels, ImageInMemory, bgr_of, in_order_of
from ..values.arrays import FloatArray, Image
from ..values.geometry import Region, from_crops, region_of_points, roll, warp
from ..values.landmarks import Landmarks
from ..values.numeric import finite, is_whole
from ..values.schemes import SCHEMES, scheme_of
from .measured import EyeOpening, Pose

SELF_OCCLUDED, OCCLUDED, VISIBLE = 0, 1, 2
"""Values of ``Face.visibility``."""
_LARGEST_CROP = 8192  # pixels
_FLOAT, _BYTE = np.dtype(np.float32), np.dtype(np.uint8)


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
        interpolated: True if the face was not seen in this frame, but lies between two frames in which it was
            (``nasion.annotate``).

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
    interpolated: bool = False

    if not TYPE_CHECKING:  # type checkers take the signature from the fields

        def __new__(cls, *values: Any, **named: Any) -> Self:
            """Refuse ``points``, the name of ``landmarks`` until version 0.1, also from ``dataclasses.replace``."""
            if "points" in named:
                raise NasionError("Face takes landmarks, not points, since nasion 0.2; give landmarks=…")
            return object.__new__(cls)

    def __post_init__(self) -> None:
        """Convert lists to arrays, and attach the scheme to the landmarks.

        Raises:
            NasionError: a value has another shape, or cannot be converted.
        """
        landmarks = self.landmarks
        attached = landmarks.scheme.name if type(landmarks) is Landmarks and landmarks.scheme else ""
        if type(landmarks) is not Landmarks or (self.scheme and attached != self.scheme):
            points = _array("landmarks", landmarks, _FLOAT, (None, 2))
            scheme = SCHEMES.get(self.scheme) if self.scheme else scheme_of(len(points))
            object.__setattr__(self, "landmarks", Landmarks(points, scheme))
        count = len(self.landmarks)
        for name, dtype, shape in (
            ("box", _FLOAT, (4,)),
            ("confidence", _FLOAT, (count,)),
            ("visibility", _BYTE, (count,)),
        ):
            value = getattr(self, name)
            if value is None and name == "visibility":
                continue
            if type(value) is not np.ndarray or value.dtype != dtype or value.shape != shape:
                object.__setattr__(self, name, _array(name, value, dtype, shape))
        if self.eye_opening is not None and type(self.eye_opening) is not EyeOpening:
            object.__setattr__(self, "eye_opening", EyeOpening(*self.eye_opening))

    @property
    def scheme_name(self) -> str:
        """Name of the landmark scheme, also of the usual one; empty if it is unknown."""
        scheme = self.landmarks.scheme
        return scheme.name if scheme else self.scheme

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
        ``mouth``; and ``interpolated`` if it is. Pixels and degrees are rounded to 0.01, millimetres to 0.1, all else
        to 0.0001.
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
        if self.interpolated:
            values["interpolated"] = True
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


def _array(name: str, value: Any, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Convert a value of a face to an array of ``shape``, in which None stands for any length.

    Raises:
        NasionError: that is not possible.
    """
    with suppress(TypeError, ValueError, OverflowError):
        array = np.asarray(value, dtype)
        if all(want in (None, got) for want, got in zip(shape, array.shape, strict=True)):
            return array
    given = f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.60}"
    expected = ", ".join("n" if side is None else str(side) for side in shape)
    raise NasionError(
        f"{name} of a face is {given}; give numbers of shape ({expected}): a face has landmarks (n, 2), a confidence "
        "(n,) and a box (4,)"
    )


def _rounded(values: Any, decimals: int) -> Any:
    # Rounded as float64, because a float32 of 0.1 would be printed with all digits of its binary value.
    return np.asarray(values, np.float64).round(decimals).tolist()


def _equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a is not None and b is not None and np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
    return bool(a == b)
