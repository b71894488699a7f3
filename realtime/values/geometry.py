"""Bounding boxes, similarity transforms and crops, shared by training and inference.

Pixels: the centre of the top-left pixel is (0, 0), so an image of width w covers -0.5 .. w - 0.5, and resizing by s
maps x to (x + 0.5) s - 0.5, in float, never rounded. A box is (x0, y0, x1, y1). A transform is (2, 3) float32 and maps
a column (x, y, 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import cos, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from ...engines.spec import Spec
from .arrays import FloatArray, Image
from .scheme import LandmarkScheme

SMALLEST = 8.0  # pixels; a smaller region contains no face
LARGEST = 4  # times the longer side of the image; a larger region contains no face


@dataclass(frozen=True, slots=True)
class Region:
    """Square of the frame, possibly rotated, that becomes a crop.

    Attributes:
        x, y: centre in pixels of the frame.
        side: side length in pixels of the frame.
        angle: clockwise rotation of the face in the image, in radians; the crop is rotated so that the face is upright.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0

    def to_crop(self, size: int) -> FloatArray:
        """Return the transform (2, 3) from pixels of the frame to pixels of a ``size`` x ``size`` crop."""
        scale = size / self.side
        c, s = cos(self.angle) * scale, sin(self.angle) * scale
        centre = (size - 1) / 2
        return np.array(
            [
                [c, s, centre - c * self.x - s * self.y],
                [-s, c, centre + s * self.x - c * self.y],
            ],
            np.float32,
        )

    def change(self, new: Region) -> float:
        """Return how much ``new`` differs: in position and size, in sides of this region, or in angle, in radians."""
        angle = (new.angle - self.angle + math.pi) % (2 * math.pi) - math.pi
        moved = max(abs(new.x - self.x) / self.side, abs(new.y - self.y) / self.side)
        return max(moved, abs(new.side / self.side - 1), abs(angle))

    def may_hold_face(self, width: int, height: int) -> bool:
        """Return True if a face of an image may be here: finite, neither tiny nor huge, and partly inside."""
        half = self.side / 2
        return (
            math.isfinite(self.x + self.y + self.side + self.angle)
            and SMALLEST <= self.side <= LARGEST * max(width, height)
            and -half < self.x < width + half
            and -half < self.y < height + half
        )


def to_frame(points: FloatArray, regions: Sequence[Region], size: int) -> FloatArray:
    """Map points (k, n, 2) in pixels of the ``size`` x ``size`` crops of k regions to pixels of the frame (k, n, 2)."""
    back = np.array([_back(region, size) for region in regions], np.float32).reshape(-1, 3, 2)
    mapped: FloatArray = points @ back[:, :2] + back[:, 2:]
    return mapped


def _back(region: Region, size: int) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Return the inverse of ``Region.to_crop`` for points as rows: (x, y) @ the first two rows + the third."""
    scale = region.side / size
    c, s = cos(region.angle) * scale, sin(region.angle) * scale
    centre = (size - 1) / 2
    return (c, s), (-s, c), (region.x - (c - s) * centre, region.y - (s + c) * centre)


def from_crops(regions: Sequence[Region], size: int) -> FloatArray:
    """Return transforms (k, 2, 3) from pixels of the ``size`` x ``size`` crop of each region to pixels of the frame."""
    rows = np.array([_back(region, size) for region in regions], np.float32).reshape(-1, 3, 2)
    return np.ascontiguousarray(rows.swapaxes(1, 2))


def transform(points: FloatArray, matrix: FloatArray) -> FloatArray:
    """Map points (..., 2) with a transform (2, 3)."""
    mapped: FloatArray = points @ matrix[:, :2].T + matrix[:, 2]
    return mapped


def invert(matrix: FloatArray) -> FloatArray:
    """Return the inverse (2, 3) of the transform ``matrix`` (2, 3)."""
    inverse: FloatArray = cv2.invertAffineTransform(matrix).astype(np.float32)
    return inverse


def warp(image: Image, matrix: FloatArray, size: int) -> Image:
    """Sample a ``size`` x ``size`` crop; pixels outside the image are black.

    A crop reduced by more than two is sampled from a halved image, to avoid aliasing of fine texture.
    """
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    shorter = min(image.shape[:2])
    image, to_crop = _neighbourhood(image, matrix, size)
    if not image.size:
        return np.zeros((size, size, 3), np.uint8)
    while scale < 0.4 and shorter >= 2 * size:
        height, width = image.shape[:2]
        half = ((width + 1) // 2, (height + 1) // 2)
        image = cv2.resize(image, half, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        to_crop = to_crop @ _resize(half[0] / width, half[1] / height, back=True)
        scale, shorter = scale * 2, (shorter + 1) // 2
    # OpenCV warps four bytes per pixel in half the time of three.
    four = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
    crop = cv2.warpAffine(four, to_crop, (size, size), flags=cv2.INTER_LINEAR)
    return cv2.cvtColor(crop, cv2.COLOR_BGRA2BGR).astype(np.uint8, copy=False)


def _neighbourhood(image: Image, matrix: FloatArray, size: int) -> tuple[Image, NDArray[np.float64]]:
    """Return the part of the image that the crop covers, and the transform from that part to the crop.

    The bounds of the part are multiples of 16, so halving it averages the same pixels as halving the image. Computed
    with Python numbers, because this runs for every face of every frame and numpy is slow on tiny arrays.
    """
    (a, b, x), (c, d, y) = matrix.tolist()
    area, middle = a * d - b * c, (size - 1) / 2
    reach = (size / 2 + 2) / abs(area)  # the crop plus two of its pixels on each side, for the interpolation
    left, right = _span((d * (middle - x) - b * (middle - y)) / area, (abs(b) + abs(d)) * reach)
    top, bottom = _span((a * (middle - y) - c * (middle - x)) / area, (abs(a) + abs(c)) * reach)
    moved = np.array([[a, b, x + a * left + b * top], [c, d, y + c * left + d * top]], np.float64)
    return image[top:bottom, left:right], moved


def _span(centre: float, reach: float) -> tuple[int, int]:
    """Return bounds of an interval of one axis plus a pixel on either side: multiples of 16, not below 0."""
    low, high = math.floor((centre - reach - 1) / 16), math.floor((centre + reach + 1) / 16) + 1
    return max(low * 16, 0), max(high * 16, 0)


def _resize(x: float, y: float, *, back: bool) -> FloatArray:
    """Return the transform (3, 3) of a resize by (x, y) about pixel centres at half pixels, or its inverse."""
    if back:
        x, y = 1 / x, 1 / y
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]], np.float32)


def box_of(points: FloatArray) -> FloatArray:
    """Return the tightest bounding box (..., 4) of points (..., n, 2)."""
    # numpy needs half the time to reduce along the last axis
    return _bounds(np.ascontiguousarray(points.swapaxes(-1, -2))).reshape(*points.shape[:-2], 4)


def _bounds(rows: FloatArray) -> FloatArray:
    """Return minimum and maximum (..., 2, d) of rows (..., d, n)."""
    bounds = np.empty((*rows.shape[:-2], 2, rows.shape[-2]), np.float32)
    np.minimum.reduce(rows, axis=-1, out=bounds[..., 0, :])
    np.maximum.reduce(rows, axis=-1, out=bounds[..., 1, :])
    return bounds


def roll(points: FloatArray, scheme: LandmarkScheme) -> float:
    """Return the clockwise rotation of a face in the image, in radians.

    Computed from the vector between the eyes and the vector from the eyes down to the mouth, weighted by their lengths:
    in profile the eyes coincide and only the second one counts.
    """
    return _angle((roll_weights(scheme) @ points).tolist())


def _angle(ways: Sequence[Sequence[float]]) -> float:
    (ex, ey), (mx, my) = ways
    return math.atan2(ey - mx, ex + my)


@cache
def roll_weights(scheme: LandmarkScheme) -> FloatArray:
    """Return weights (2, n) that map landmarks to the vectors from left to right eye and from the eyes to the mouth.

    They are 0 if the scheme lacks one of these parts.
    """
    weights = np.zeros((2, scheme.count), np.float32)
    if not scheme.tells_roll:
        return weights  # every angle is then 0
    left, right, mouth = list(scheme.left_eye), list(scheme.right_eye), list(scheme.mouth)
    weights[0, right], weights[0, left] = 1 / len(right), -1 / len(left)
    weights[1, right], weights[1, left] = -0.5 / len(right), -0.5 / len(left)
    weights[1, mouth] += 1 / len(mouth)
    return weights


def region_of_points(points: FloatArray, *, margin: float, angle: float = 0.0) -> Region:
    """Return the square region around points (n, 2) rotated upright by ``angle``, of ``margin`` times their extent.

    The extent is the longer side of their bounding box once they are upright.
    """
    rotation = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]], np.float32)
    return _region(box_of(points @ rotation).tolist(), margin, angle)


def _region(upright: Sequence[float], margin: float, angle: float) -> Region:
    """Return the region of ``angle`` whose box is ``upright`` after rotating the frame back by ``angle``."""
    left, top, right, bottom = upright
    x, y = (left + right) / 2, (top + bottom) / 2
    side = max(max(right - left, bottom - top) * margin, 1.0)
    return Region(cos(angle) * x - sin(angle) * y, sin(angle) * x + cos(angle) * y, side, angle)


def boxes_and_regions(
    points: FloatArray, scheme: LandmarkScheme | None, *, margin: float
) -> tuple[FloatArray, list[Region]]:
    """Return the bounding boxes (k, 4) of the landmarks (k, n, 2) of k faces, and their upright regions.

    The regions are those of ``region_of_points``; without a scheme their angle is 0. Uses few numpy calls, whatever k,
    because this runs for every frame.
    """
    angles = [_angle(ways) for ways in (roll_weights(scheme) @ points).tolist()] if scheme else [0.0] * len(points)
    # rows of x and y, then of x and y rotated back
    rows = np.array([[[1, 0], [0, 1], [cos(a), sin(a)], [-sin(a), cos(a)]] for a in angles], np.float32)
    bounds = _bounds(rows.reshape(-1, 4, 2) @ points.swapaxes(1, 2))
    upright = bounds[:, :, 2:].reshape(-1, 4).tolist()
    regions = [_region(box, margin, angle) for box, angle in zip(upright, angles, strict=True)]
    return bounds[:, :, :2].reshape(-1, 4), regions


def iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the IoU (n, m) of boxes (n, 4) and (m, 4)."""
    shared, area_a, area_b = _shared(a, b)
    return _ratio(shared, area_a[:, None] + area_b[None, :] - shared)


def containment(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the intersection over the smaller area (n, m) of boxes (n, 4) and (m, 4)."""
    shared, area_a, area_b = _shared(a, b)
    return _ratio(shared, np.minimum(area_a[:, None], area_b[None, :]))


def overlapping(boxes: Sequence[FloatArray]) -> list[tuple[int, int, float]]:
    """Return the pairs i < j of boxes (4,) that overlap, in order, each with its ``containment``.

    Sweeps along x with Python numbers, because this runs for every frame, and few faces overlap.
    """
    sides = [box.tolist() for box in boxes]
    by_left = sorted(range(len(sides)), key=lambda i: sides[i][0])
    pairs = []
    for at, i in enumerate(by_left, start=1):
        left, top, right, bottom = sides[i]
        for j in by_left[at:]:
            x0, y0, x1, y1 = sides[j]
            if x0 >= right:
                break
            width, height = min(right, x1) - x0, min(bottom, y1) - max(top, y0)
            if width > 0 and height > 0:
                smaller = min((right - left) * (bottom - top), (x1 - x0) * (y1 - y0))
                pairs.append((min(i, j), max(i, j), width * height / smaller))
    return sorted(pairs)


def _shared(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the intersection areas (n, m) of boxes (n, 4) and (m, 4), and the areas (n,) and (m,) of the boxes."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    area_a, area_b = (np.clip(each[:, 2:] - each[:, :2], 0, None).prod(axis=1) for each in (a, b))
    return np.clip(high - low, 0, None).prod(axis=2), area_a, area_b


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Return ``part`` / ``whole``, 0 where ``whole`` is not positive."""
    ratio: FloatArray = np.divide(part, whole, out=np.zeros_like(part, dtype=np.float32), where=whole > 0)
    return ratio


def to_tensor(crops: Sequence[Image], mean: Sequence[float], std: Sequence[float], *, rgb: bool) -> FloatArray:
    """Stack BGR crops of one size into (B, 3, H, W) float32, normalised with ``mean`` and ``std`` of each plane."""
    height, width = crops[0].shape[:2]
    tensor = np.empty((len(crops), 3, height, width), np.float32)
    for crop, planes in zip(crops, tensor, strict=True):
        _fill(planes, crop, mean, std, rgb=rgb)
    return tensor


def fill_planes(planes: FloatArray, image: Image, spec: Spec) -> None:
    """Write a BGR image (H, W, 3) to planes (3, H, W), normalised according to a network's spec."""
    _fill(planes, image, spec.mean, spec.std, rgb=spec.channels == "rgb")


def _fill(planes: FloatArray, image: Image, mean: Sequence[float], std: Sequence[float], *, rgb: bool) -> None:
    planes[...] = image.transpose(2, 0, 1)[:: -1 if rgb else 1]
    if any(mean):
        planes -= np.array(mean, np.float32)[:, None, None]
    if set(std) != {1}:
        planes *= np.divide(1, std, dtype=np.float32)[:, None, None]
