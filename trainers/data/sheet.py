"""Overview of a data set: counts, and a sheet of faces with their landmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...realtime.values.arrays import FloatArray, Image
from ...realtime.values.geometry import Region, region_of_points, transform, warp
from ...realtime.values.scheme import LandmarkScheme
from .base import DetectionSet, LandmarkSet
from .images import read_images

CELL = 200  # side of one image on the sheet, in pixels
COLUMNS = 10
_TITLE = 28  # height of the line of text above the images, in pixels
_MARGIN = 1.4  # cell over the longer extent of the landmarks: the boxes of most sets are still inside

_SEEN, _OCCLUDED, _LINE, _BOX = (80, 230, 80), (60, 60, 255), (190, 190, 190), (255, 180, 60)  # BGR


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a set or of a part of it.

    Attributes:
        faces: number of faces.
        ``images``: number of different images.
        points: landmarks of a face.
        missing: landmarks that are not annotated, over all faces.
        occluded: annotated landmarks that are occluded; None if the set has no such labels.
        boxes: boxes that come with the set.
    """

    faces: int
    images: int
    points: int
    missing: int
    occluded: int | None
    boxes: int


def count(data: LandmarkSet) -> Counts:
    """Count the contents of a set."""
    occluded = None if data.visible is None else int((data.visible == 0).sum())
    missing = int(np.isnan(data.points).any(axis=2).sum())
    boxes = 0 if data.boxes is None else len(data.boxes)
    return Counts(len(data), len(set(data.files)), data.points.shape[1], missing, occluded, boxes)


def subset(data: LandmarkSet, name: str) -> LandmarkSet:
    """Return one of the subsets of a set."""
    return data.pick(np.flatnonzero(data.subsets[name]))


def spread(total: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` of ``total`` indices, evenly spread."""
    return sorted({int(i) for i in np.linspace(0, total - 1, min(wanted, total))}) if total else []


def face_cells(data: LandmarkSet, wanted: int) -> Iterator[Image]:
    """Yield crops of evenly spread faces with landmarks, lines and box; red landmarks are occluded.

    Raises:
        DataError: an image is missing or cannot be decoded.
    """
    missing: NDArray[np.bool_] = np.isnan(data.points[..., 0] + data.points[..., 1])
    annotated = np.flatnonzero(~missing.all(axis=1))
    chosen = data.pick(annotated[spread(len(annotated), wanted)])
    for i, image in enumerate(read_images(chosen.files)):
        visible = None if chosen.visible is None else chosen.visible[i]
        box = None if chosen.boxes is None else chosen.boxes[i]
        yield face_cell(image, chosen.points[i], chosen.scheme, visible=visible, box=box)


def face_cell(
    image: Image,
    points: FloatArray,
    scheme: LandmarkScheme,
    *,
    visible: FloatArray | None = None,
    box: FloatArray | None = None,
    found: FloatArray | None = None,
) -> Image:
    """Return a crop around landmarks (n, 2) with landmarks, lines and box drawn; NaN landmarks are left out.

    Landmarks ``found`` (n, 2) by a network are drawn in red, joined with those of the label.
    """
    known = np.isfinite(points).all(axis=1)
    matrix = region_of_points(points[known], margin=_MARGIN).to_crop(CELL)
    cell, placed = warp(image, matrix, CELL), transform(points, matrix)
    if box is not None:
        _draw_run(cell, transform(_outline(box), matrix), _BOX)
    for run in scheme.lines:
        _draw_run(cell, placed[list(run)], _LINE)
    for i in np.flatnonzero(known):
        colour = _OCCLUDED if visible is not None and visible[i] == 0 else _SEEN
        cv2.circle(cell, _fixed(placed[i]), 24, colour, cv2.FILLED, cv2.LINE_AA, 4)
        if found is not None:
            other = transform(found[i], matrix)
            cv2.line(cell, _fixed(placed[i]), _fixed(other), _OCCLUDED, 1, cv2.LINE_AA, 4)
            cv2.circle(cell, _fixed(other), 24, _OCCLUDED, cv2.FILLED, cv2.LINE_AA, 4)
    return cell


def image_cells(data: DetectionSet, wanted: int) -> Iterator[Image]:
    """Yield whole images, evenly spread, with their boxes; red boxes are marked as invalid.

    Raises:
        DataError: an image is missing or cannot be decoded.
    """
    chosen = data.pick(spread(len(data), wanted))
    for image, boxes, invalid in zip(read_images(chosen.files), chosen.boxes, chosen.invalid, strict=True):
        height, width = image.shape[:2]
        matrix = Region((width - 1) / 2, (height - 1) / 2, max(height, width)).to_crop(CELL)
        cell = warp(image, matrix, CELL)
        for box, wrong in zip(boxes, invalid, strict=True):
            _draw_run(cell, transform(_outline(box), matrix), _OCCLUDED if wrong else _SEEN)
        yield cell


def _draw_run(cell: Image, points: FloatArray, colour: tuple[int, int, int]) -> None:
    """Draw lines between consecutive points, leaving out those that are NaN."""
    for a, b in pairwise(points):
        if np.isfinite(a).all() and np.isfinite(b).all():
            cv2.line(cell, _fixed(a), _fixed(b), colour, 1, cv2.LINE_AA, 4)


def _outline(box: FloatArray) -> FloatArray:
    """Return the corners (5, 2) of a box, with the first one repeated at the end."""
    corners: FloatArray = box[[0, 1, 2, 1, 2, 3, 0, 3, 0, 1]].reshape(5, 2)
    return corners


def _fixed(point: NDArray[np.float32]) -> tuple[int, int]:
    """Return a point in sixteenths of a pixel, the fixed-point format of cv2's drawing functions."""
    x, y = (np.clip(point, -1000, 1000) * 16).round().astype(int).tolist()
    return x, y


def block(title: str, cells: Sequence[Image]) -> Image:
    """Arrange cells in rows below a line of text: (height, COLUMNS * CELL, 3)."""
    rows = -(-len(cells) // COLUMNS)
    canvas = np.full((_TITLE + rows * CELL, COLUMNS * CELL, 3), 32, np.uint8)
    cv2.putText(canvas, title, (8, _TITLE - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    for i, cell in enumerate(cells):
        top, left = _TITLE + i // COLUMNS * CELL, i % COLUMNS * CELL
        canvas[top : top + CELL, left : left + CELL] = cell
    return canvas


def outside(data: LandmarkSet) -> int:
    """Count the annotated landmarks that lie outside their image; decodes all images.

    Raises:
        DataError: an image is missing or cannot be decoded.
    """
    total = 0
    for image, points in zip(read_images(data.files), data.points, strict=True):
        height, width = image.shape[:2]
        beyond = (points < -0.5) | (points > np.array([width - 0.5, height - 0.5], np.float32))
        total += int(beyond.any(axis=1).sum())
    return total


def without_faces(files: Sequence[Path]) -> DetectionSet:
    """Return images without faces as a set without boxes."""
    none = np.zeros((0, 4), np.float32)
    return DetectionSet("negatives", tuple(files), (none,) * len(files), (np.zeros(0, bool),) * len(files))
