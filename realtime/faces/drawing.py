"""Drawing of faces: landmarks, the lines of their scheme, bounding box and track ID."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from ...engines.errors import NasionError
from ..images.inputs import Channels, ImageInMemory, bgr_of, in_order_of
from ..values.arrays import FloatArray, Image
from .face import SELF_OCCLUDED, VISIBLE, Face
from .measured import Pose

Colour = tuple[int, int, int]

_SHIFT = 4  # fractional bits of cv2 coordinates: 1/16 pixel
_REACH = 100_000  # pixels; coordinates are clipped to this so that cv2's integers cannot overflow
_LINE_ALPHA = 0.75  # lines are fainter than the dots, which are the measured landmarks
_FAINT = 0.2  # opacity of a landmark with confidence 0, so that it stays visible
_LEAST_FOR_LINES, _LEAST_FOR_LABEL = 60, 40  # minimum side of a face in pixels
_BLACK: Colour = (0, 0, 0)
_AXES: tuple[Colour, ...] = ((0, 0, 255), (0, 255, 0), (255, 0, 0))
_AXIS = 60.0  # millimetres, length of an axis of the head
_WIDE_EYE = 0.4  # opening of an eye at which its bar is full
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True)
class _Pen:
    """Drawing sizes in pixels and colour for one face."""

    colour: Colour
    side: float
    dot: float
    line: int
    text: float

    @classmethod
    def of(cls, face: Face) -> _Pen:
        width, height = (float(x) for x in face.box[2:] - face.box[:2])
        side = math.sqrt(max(width * height, 1.0)) if math.isfinite(width * height) else 1.0
        return cls(
            colour=colour_of(face.id),
            side=side,
            dot=min(max(side / 100, 0.7), 12.0),
            line=round(min(max(side / 220, 1), 8)),
            text=min(max(side / 500, 0.4), 1.5),
        )


PARTS = ("box", "label", "landmarks", "lines", "axes", "bars")
"""Parts of a face that ``draw`` can draw."""

Draw = Callable[[Image, Sequence[Face]], Image]


def drawing(parts: Collection[str]) -> Draw:
    """Return ``draw`` limited to some of ``PARTS``.

    Raises:
        NasionError: a part is unknown.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        raise NasionError(f"{unknown[0]!r} cannot be drawn; allowed: {', '.join(PARTS)}, or none")
    box, label, landmarks, lines, axes, bars = (part in parts for part in PARTS)
    return partial(draw, box=box, label=label, landmarks=landmarks, lines=lines, axes=axes, bars=bars)


def colour_of(identity: int) -> Colour:
    """Return the BGR colour of a track ID: always the same for one ID, and far from those of neighbouring IDs."""
    hue = (0.35 + (identity - 1) * 0.618034) % 1.0  # golden-ratio steps stay far from all earlier hues
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.7, 1.0)
    return round(255 * blue), round(255 * green), round(255 * red)


def draw(
    image: ImageInMemory,
    faces: Sequence[Face],
    *,
    channels: Channels = "bgr",
    landmarks: bool = True,
    lines: bool = True,
    box: bool = True,
    label: bool = True,
    axes: bool = True,
    bars: bool = True,
) -> Image:
    """Return a copy of ``image`` with ``faces`` drawn; line and dot sizes scale with each face.

    Args:
        image: image as for ``nasion.detect``, but no path; not modified.
        faces: faces in pixels of ``image``; may extend beyond it. Landmarks that are not finite are skipped.
        channels: order of the colours of an array.
        landmarks: draw a dot at each landmark, fainter the lower its confidence; a circle where it is occluded, and
            only the rim where the face itself hides it, if the network predicts the visibility.
        lines: draw the lines of the scheme if it is known; not for faces smaller than 60 pixels.
        box: draw the bounding box of the landmarks.
        label: draw the track ID beside the bounding box, where it covers no face and no other label; not if there is no
            such place, and not for faces smaller than 40 pixels.
        axes: draw the axes of the head at the root of the nose if the pose is measured: red to the right ear in the
            image, green down, blue in the direction in which the face looks.
        bars: draw the openings of the eyes and the mouth, if they are measured, as bars beside the bounding box: left
            eye, right eye, mouth. A full bar is 0.4 for an eye and 1 for the mouth.

    Returns:
        Array (height, width, 3) of uint8 with the colours in the order of the image: BGR, or RGB for ``channels="rgb"``
        and for a Pillow image.

    Raises:
        NasionError: the image is not one, or ``faces`` is not a sequence of ``Face``.

    Examples:
        >>> import cv2
        >>> import nasion
        >>> image = cv2.imread("face.png")
        >>> drawn = nasion.draw(image, nasion.detect(image), label=False)
        >>> cv2.imwrite("drawn.png", drawn)
        True
    """
    if not isinstance(faces, Sequence) or not all(isinstance(face, Face) for face in faces):
        raise NasionError(f"draw was given {faces!r:.60} as its faces; give a list of nasion.Face, such as [face]")
    plain = bgr_of(image, channels)
    canvas = plain.copy()
    for face in faces:
        pen = _Pen.of(face)
        if box and np.isfinite(face.box).all():
            _draw_box(canvas, face.box, pen)
        if lines and pen.side >= _LEAST_FOR_LINES:
            _draw_lines(canvas, plain, face, pen)
        if landmarks:
            _draw_dots(canvas, plain, face, pen)
        if axes and face.pose is not None and face.pose.focal_length is not None:
            _draw_axes(canvas, face.pose, face.pose.focal_length, pen)
        if bars and np.isfinite(face.box).all():
            _draw_bars(canvas, face, pen)
    if label:  # last, so that no other face covers a label
        taken = [face.box.tolist() for face in faces if np.isfinite(face.box).all()]
        for face in faces:
            pen = _Pen.of(face)
            if pen.side >= _LEAST_FOR_LABEL and np.isfinite(face.box).all():
                taken += _draw_label(canvas, face, pen, taken)
    return in_order_of(image, channels, canvas)


def _draw_box(canvas: Image, box: FloatArray, pen: _Pen) -> None:
    corners = _fixed(box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2))
    cv2.polylines(canvas, [corners], True, pen.colour, max(1, pen.line // 2), cv2.LINE_AA, _SHIFT)


def _draw_lines(canvas: Image, image: Image, face: Face, pen: _Pen) -> None:
    scheme = face.landmarks.scheme
    if scheme is None:
        return
    start = [a for run in scheme.lines for a in run[:-1]]
    end = [b for run in scheme.lines for b in run[1:]]
    alpha = np.minimum(_alpha(face)[start], _alpha(face)[end]) * np.float32(_LINE_ALPHA)
    middle = (face.landmarks[start] + face.landmarks[end]) * np.float32(0.5)
    colours = _mixed(image, middle, pen.colour, alpha)
    fixed = _fixed(face.landmarks)
    for i in _finite(middle):
        a, b = fixed[start[i]].tolist(), fixed[end[i]].tolist()
        cv2.line(canvas, a, b, colours[i], pen.line, cv2.LINE_AA, _SHIFT)


def _draw_dots(canvas: Image, image: Image, face: Face, pen: _Pen) -> None:
    alpha = _alpha(face)
    fixed = _fixed(face.landmarks).tolist()
    # Draw in order of confidence, so that of overlapping dots the most confident is on top.
    order = sorted(_finite(face.landmarks), key=lambda i: float(alpha[i]))
    # A dark rim keeps the dots visible on any skin and background; it shrinks with the dot on small faces.
    rim = pen.dot + min(0.8, pen.dot / 3)
    seen = [VISIBLE] * len(fixed) if face.visibility is None else face.visibility.tolist()
    for radius, colour, strength in ((rim, _BLACK, 0.6), (pen.dot, pen.colour, 1.0)):
        colours = _mixed(image, face.landmarks, colour, strength * alpha)
        for i in order:
            if seen[i] == SELF_OCCLUDED and colour is not _BLACK:
                continue
            thickness = cv2.FILLED if seen[i] == VISIBLE else 1
            cv2.circle(canvas, fixed[i], round(radius * (1 << _SHIFT)), colours[i], thickness, cv2.LINE_AA, _SHIFT)


def _draw_axes(canvas: Image, pose: Pose, focal_length: float, pen: _Pen) -> None:
    origin = np.array(pose.translation)
    # columns of the rotation are the axes of the head; it looks along its negative z axis
    ends = origin + pose.rotation.T * np.array([[1.0], [1.0], [-1.0]]) * _AXIS
    if min(origin[2], *ends[:, 2]) <= 0:  # behind the camera
        return
    middle = (np.array(canvas.shape[1::-1]) - 1) / 2
    places = np.vstack([origin, ends])
    start, *tips = _fixed((places[:, :2] / places[:, 2:] * focal_length + middle).astype(np.float32)).tolist()
    # the farthest axis first, so that a nearer one covers it
    for axis in np.argsort(-ends[:, 2]).tolist():
        cv2.line(canvas, start, tips[axis], _AXES[axis], pen.line + 1, cv2.LINE_AA, _SHIFT)


def _draw_bars(canvas: Image, face: Face, pen: _Pen) -> None:
    """Draw the openings as bars that grow upwards, to the left of the bounding box."""
    values = [*((each / _WIDE_EYE) for each in face.eye_opening or ()), face.mouth_opening]
    shares = [min(max(value, 0.0), 1.0) for value in values if value is not None]
    x0, _, _, y1 = face.box.tolist()
    wide, high = max(pen.side / 20, 3.0), pen.side / 2
    left = max(x0 - 1.5 * wide * len(shares) - wide, 0.0)
    for number, share in enumerate(shares):
        x = left + 1.5 * wide * number
        corners = np.array([[x, y1], [x + wide, y1 - high], [x + wide, y1 - share * high]], np.float32)
        bottom, top, level = _fixed(corners).tolist()
        cv2.rectangle(canvas, bottom, top, _BLACK, cv2.FILLED, cv2.LINE_AA, _SHIFT)
        cv2.rectangle(canvas, bottom, level, pen.colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _draw_label(canvas: Image, face: Face, pen: _Pen, taken: Sequence[Sequence[float]]) -> list[list[float]]:
    """Draw the track ID beside the bounding box, covering none of the boxes ``taken``, if there is such a place.

    Returns:
        Box of the label in a list, which is empty if no label is drawn.
    """
    text, thick = str(face.id), 1 if pen.text < 0.8 else 2
    (width, height), descent = cv2.getTextSize(text, _FONT, pen.text, thick)
    pad = max(2, height // 3)
    width, height = width + 2 * pad, height + descent + pad
    free = (place for place in _places(canvas, face, width, height, pad) if not _covers(place, width, height, taken))
    place = next(free, None)
    if place is None:
        return []
    left, top = place
    cv2.rectangle(canvas, (left, top), (left + width - 1, top + height - 1), pen.colour, cv2.FILLED)
    base = (left + pad, top + height - descent - pad // 2)
    cv2.putText(canvas, text, base, _FONT, pen.text, _BLACK, thick, cv2.LINE_AA)
    return [[left, top, left + width, top + height]]


def _places(canvas: Image, face: Face, width: int, height: int, pad: int) -> Iterator[tuple[int, int]]:
    """Yield the top left corners where a label may lie: above, below, left and right of the bounding box.

    On each side it begins at the left or upper end of the box, ends at the other one, or lies in the middle. Corners
    are clipped to the image.
    """
    x0, y0, x1, y1 = face.box.tolist()
    across, along = (x0, x1 - width, (x0 + x1 - width) / 2), (y0, y1 - height, (y0 + y1 - height) / 2)
    corners = [(x, y) for y in (y0 - height - pad, y1 + pad) for x in across]
    corners += [(x, y) for x in (x0 - width - pad, x1 + pad) for y in along]
    limits = max(canvas.shape[1] - width, 0), max(canvas.shape[0] - height, 0)
    for x, y in corners:
        yield int(np.clip(x, 0, limits[0])), int(np.clip(y, 0, limits[1]))


def _covers(corner: tuple[int, ...], width: int, height: int, boxes: Sequence[Sequence[float]]) -> bool:
    """Return True if a label at ``corner`` overlaps any box."""
    left, top = corner
    return any(left < x1 and x0 < left + width and top < y1 and y0 < top + height for x0, y0, x1, y1 in boxes)


def _mixed(image: Image, points: FloatArray, colour: Colour, alpha: FloatArray) -> list[list[float]]:
    """Blend ``colour`` by ``alpha`` (n,) with the pixels at ``points`` (n, 2), as cv2 draws opaque colours only."""
    limit = np.array(image.shape[1::-1]) - 1
    x, y = np.clip(np.nan_to_num(points), 0, limit).astype(int).T
    under = image[y, x].astype(np.float32)
    mixed: list[list[float]] = (under + (np.array(colour, np.float32) - under) * alpha[:, None]).tolist()
    return mixed


def _alpha(face: Face) -> FloatArray:
    alpha: FloatArray = np.clip(_FAINT + (1 - _FAINT) * face.confidence, _FAINT, 1).astype(np.float32)
    return alpha


def _finite(points: FloatArray) -> list[int]:
    rows: list[int] = np.flatnonzero(np.isfinite(points).all(axis=1)).tolist()
    return rows


def _fixed(points: FloatArray) -> NDArray[np.int32]:
    """Convert points to cv2's fixed-point coordinates of 1/16 pixel."""
    bounded = np.clip(np.nan_to_num(points), -_REACH, _REACH)
    fixed: NDArray[np.int32] = np.rint(bounded * (1 << _SHIFT)).astype(np.int32)
    return fixed
