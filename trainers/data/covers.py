"""Synthetic covers over faces: hands, masks and objects, to learn and test occlusion."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ...realtime.values.arrays import FloatArray, Image
from ...realtime.values.geometry import box_of
from ...realtime.values.scheme import LandmarkScheme
from .masks import paint_mask

EDGE = 0.008  # width of the soft edge of a cover, in sides of the face's box
FINGERS = 4


def cover_face(rng: Generator, image: Image, points: FloatArray, scheme: LandmarkScheme) -> Image:
    """Return a BGR image (H, W, 3) with a hand, a mask or an object over a part of the face.

    Args:
        rng: source of the kind, the place and the look of the cover.
        image: the image.
        points: (n, 2) landmarks in pixels, NaN where not annotated.
        scheme: their scheme.
    """
    kind = rng.choice(["hand", "mask", "object"])
    if kind == "mask":
        return paint_mask(image, points, scheme, rng)
    x0, y0, x1, y1 = box_of(points[~np.isnan(points[:, 0])]).tolist()
    side = max(x1 - x0, y1 - y0)
    x, y = rng.uniform(x0, x1), rng.uniform(y0, y1)
    shape = _hand(rng, image.shape, x, y, side) if kind == "hand" else _object(rng, image.shape, x, y, side)
    look = _skin(rng, image, points) if kind == "hand" else _texture(rng, image)
    alpha = cv2.GaussianBlur(shape.astype(np.float32) / 255, (0, 0), max(EDGE * side, 0.5))[..., None]
    covered: Image = np.rint(image + (look - image) * alpha).clip(0, 255).astype(np.uint8)
    return covered


def _hand(rng: Generator, shape: tuple[int, ...], x: float, y: float, side: float) -> NDArray[np.uint8]:
    """Return the mask (H, W) of a hand: a palm at x, y with four fingers side by side, turned at random."""
    drawn = np.zeros(shape[:2], np.uint8)
    angle = rng.uniform(0, 2 * math.pi)
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    size, spread = side * rng.uniform(0.3, 0.55), rng.uniform(1.0, 1.5)
    palm = np.array([x, y])
    width = size / FINGERS
    axes = (round(0.55 * size), round(0.5 * size))
    cv2.ellipse(drawn, _pixel(palm), axes, math.degrees(angle), 0, 360, 255, -1, cv2.LINE_AA)
    for finger in range(FINGERS):
        begin = palm + across * (finger - (FINGERS - 1) / 2) * width
        end = palm + along * size * rng.uniform(1.0, 1.4) + (begin - palm) * spread
        cv2.line(drawn, _pixel(begin), _pixel(end), 255, max(round(0.85 * width), 1), cv2.LINE_AA)
    arm = palm - along * 4 * size
    cv2.line(drawn, _pixel(palm), _pixel(arm), 255, max(round(0.8 * size), 1), cv2.LINE_AA)
    return drawn


def _object(rng: Generator, shape: tuple[int, ...], x: float, y: float, side: float) -> NDArray[np.uint8]:
    """Return the mask (H, W) of a rectangle or an ellipse about x, y, turned at random."""
    drawn = np.zeros(shape[:2], np.uint8)
    size, degrees = side * rng.uniform(0.25, 0.8, 2), rng.uniform(0, 180)
    if rng.random() < 0.5:
        cv2.ellipse(drawn, _pixel((x, y)), _pixel(size / 2), degrees, 0, 360, 255, -1, cv2.LINE_AA)
    else:
        corners = cv2.boxPoints(((x, y), (float(size[0]), float(size[1])), degrees))
        cv2.fillPoly(drawn, [np.rint(corners).astype(np.int32)], (255,), cv2.LINE_AA)
    return drawn


def _pixel(point: NDArray[np.float64] | tuple[float, float]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _skin(rng: Generator, image: Image, points: FloatArray) -> FloatArray:
    """Return an image (H, W, 3) of the colour of the face, a little lighter or darker, with soft shades."""
    known = points[~np.isnan(points[:, 0])]
    height, width = image.shape[:2]
    places = np.rint(known).astype(int).clip(0, [width - 1, height - 1])
    colour = np.median(image[places[:, 1], places[:, 0]], axis=0)
    coarse = rng.normal(1, 0.1, (6, 6)).astype(np.float32) * rng.uniform(0.8, 1.2)
    shades = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    look: FloatArray = (colour * shades + rng.normal(0, 3, (height, width, 1))).astype(np.float32)
    return look


def _texture(rng: Generator, image: Image) -> FloatArray:
    """Return an image (H, W, 3) of a plain colour, or of blobs in several colours."""
    height, width = image.shape[:2]
    cells = int(rng.choice([1, 3, 8]))
    coarse = rng.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
    look: FloatArray = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return look
