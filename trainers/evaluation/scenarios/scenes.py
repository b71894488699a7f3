"""Synthetic scenes of known truth: faces cut out of photographs, moved over a moving background."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from ....realtime.values.arrays import FloatArray, Image
from ....realtime.values.geometry import box_of, roll, transform
from ....realtime.values.published_schemes import IBUG_68

_REACH = 0.95  # half axes of a cutout, in sides of the landmarks' box
_EDGE = 0.04  # width of its soft edge, in the same unit


@dataclass(frozen=True, slots=True)
class Cutout:
    """Head cut out of a photograph.

    Attributes:
        image: (h, w, 3) uint8, BGR.
        alpha: (h, w) float32 in 0..1, opacity of the head.
        points: (68, 2) float32, landmarks in pixels of the image.
        angle: clockwise rotation of the face in the photograph, in radians.
    """

    image: Image
    alpha: FloatArray
    points: FloatArray
    angle: float

    @property
    def box(self) -> tuple[float, float, float]:
        """Centre x, y and longer side of the landmarks' bounding box, in pixels of the image."""
        x0, y0, x1, y1 = box_of(self.points).tolist()
        return (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0)


def cut_out(image: Image, points: FloatArray) -> Cutout:
    """Cut the head around landmarks (68, 2) out of a photograph: an ellipse from above the hair line to the neck."""
    angle = roll(points, IBUG_68)
    x0, y0, x1, y1 = box_of(points).tolist()
    side = max(x1 - x0, y1 - y0)
    up = np.array([math.sin(angle), -math.cos(angle)], np.float32)
    x, y = (np.array([(x0 + x1) / 2, (y0 + y1) / 2], np.float32) + 0.16 * side * up).tolist()
    alpha = np.zeros(image.shape[:2], np.uint8)
    axes = (round(0.78 * _REACH * side), round(_REACH * side))
    cv2.ellipse(alpha, (round(x), round(y)), axes, math.degrees(angle), 0, 360, 255, -1, cv2.LINE_AA)
    edge = max(_EDGE * side, 1.0)
    soft = cv2.GaussianBlur(np.pad(alpha, 2)[2:-2, 2:-2], (0, 0), edge).astype(np.float32) / 255
    border = np.zeros_like(soft)  # the photograph may end within the ellipse
    width = max(round(2 * edge), 1)
    border[width:-width, width:-width] = 1
    opacity = np.asarray(soft * cv2.GaussianBlur(border, (0, 0), edge), np.float32)
    return Cutout(image, opacity, points, angle)


@dataclass(frozen=True, slots=True)
class Placement:
    """Placement of a head in a frame.

    Attributes:
        x, y: centre of the landmarks' bounding box, in pixels.
        size: longer side of that box in pixels, when the face is upright.
        angle: clockwise rotation in radians.
    """

    x: float
    y: float
    size: float
    angle: float = 0.0


def paste(scene: Image, head: Cutout, place: Placement) -> FloatArray:
    """Draw a head into a scene, in place, and return its landmarks (68, 2) in pixels of the scene."""
    x, y, side = head.box
    scale, angle = place.size / side, place.angle - head.angle
    c, s = math.cos(angle) * scale, math.sin(angle) * scale
    matrix = np.array([[c, -s, place.x - c * x + s * y], [s, c, place.y - s * x - c * y]], np.float32)
    reach = 1.3 * place.size
    left, top = max(math.floor(place.x - reach), 0), max(math.floor(place.y - reach), 0)
    right, bottom = (
        min(math.ceil(place.x + reach), scene.shape[1]),
        min(math.ceil(place.y + reach), scene.shape[0]),
    )
    if left < right and top < bottom:
        image, alpha, local = head.image, head.alpha, matrix - np.array([[0, 0, left], [0, 0, top]], np.float32)
        while scale < 0.6:  # halve first, to avoid aliasing
            half = ((image.shape[1] + 1) // 2, (image.shape[0] + 1) // 2)
            local = local @ _enlarge(image.shape[1] / half[0], image.shape[0] / half[1])
            image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
            alpha = np.asarray(cv2.resize(alpha, half, interpolation=cv2.INTER_AREA), np.float32)
            scale *= 2
        size = (right - left, bottom - top)
        drawn = cv2.warpAffine(image, local, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        opacity = cv2.warpAffine(alpha, local, size, flags=cv2.INTER_LINEAR)[..., None]
        part = scene[top:bottom, left:right]
        part[...] = np.rint(part + (drawn.astype(np.float32) - part) * opacity).astype(np.uint8)
    return transform(head.points, matrix)


def _enlarge(x: float, y: float) -> FloatArray:
    """Return the transform (3, 3) that undoes a reduction by (x, y) about pixel centres at half pixels."""
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]], np.float32)


def background(photograph: Image, size: tuple[int, int], shift: float = 0.0) -> Image:
    """Return a view of (width, height) into a photograph that covers it, moved ``shift`` pixels to the left."""
    width, height = size
    scale = 1.15 * max(width / photograph.shape[1], height / photograph.shape[0])
    spare = scale * photograph.shape[1] - width
    moved = spare / 2 - spare / 2 * math.cos(shift / max(spare, 1.0) * math.pi)
    matrix = np.array([[scale, 0, -moved], [0, scale, 0]], np.float32)
    view = cv2.warpAffine(photograph, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(view, np.uint8)


@dataclass(frozen=True, slots=True)
class Actor:
    """Head with its path through a scene.

    Attributes:
        head: the head.
        way: place in each frame; None where the face is not in the scene.
        covered: frames in which a cover hides the face.
    """

    head: Cutout
    way: Callable[[int], Placement | None]
    covered: Container[int] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """Frame of a scene with its truth.

    Attributes:
        image: (height, width, 3) uint8, BGR.
        points: landmarks (68, 2) of each actor; None where its face is not in the scene or covered.
        hidden: landmarks of each actor whose face is covered; None for the others.
    """

    image: Image
    points: list[FloatArray | None]
    hidden: list[FloatArray | None] = field(default_factory=list)


def play(
    actors: Sequence[Actor], photograph: Image, *, frames: int, size: tuple[int, int], pan: float = 1.0
) -> Iterator[Shown]:
    """Render a scene; later actors are in front of earlier ones.

    Args:
        actors: heads and their ways.
        photograph: background.
        frames: number of frames.
        size: (width, height) in pixels.
        pan: pixels by which the background moves in a frame; 0 for a still one.
    """
    still = None if pan else background(photograph, size)
    for index in range(frames):
        image = background(photograph, size, pan * index) if still is None else still.copy()
        points: list[FloatArray | None] = []
        hidden: list[FloatArray | None] = [None] * len(actors)
        for actor in actors:
            place = actor.way(index)
            points.append(None if place is None else paste(image, actor.head, place))
            if place is not None and index in actor.covered:
                _cover(image, place)
                hidden[len(points) - 1], points[-1] = points[-1], None
        yield Shown(image, points, hidden)


def _cover(image: Image, place: Placement) -> None:
    """Hide a face behind a striped board, in place."""
    reach = 0.85 * place.size
    left, top = max(round(place.x - reach), 0), max(round(place.y - reach), 0)
    part = image[top : round(place.y + reach), left : round(place.x + reach)]
    stripes = np.add.outer(np.arange(part.shape[0]), np.arange(part.shape[1])) // 7 % 2
    part[...] = np.where(stripes[..., None], [70, 110, 95], [120, 90, 60]).astype(np.uint8)
