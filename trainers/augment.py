"""Augmentation: the crops and pictures that the tracker will see, made from those that are labelled.

Geometry uses the run-time warp (``realtime/geometry.py``). Everything draws from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from ..realtime.faces import FloatArray, Image
from ..realtime.geometry import Region, region_of_points


def jitter_region(
    rng: Generator, points: FloatArray, *, margin: float, angle: float = 0.0, shift: float = 0.04, scale: float = 0.07
) -> Region:
    """The crop of a face as following or a detector would place it: shifted, scaled and turned a little.

    Nine in ten are turned by about 6 degrees around upright (``angle``), the rest by up to 50, as a first crop from
    a detector's upright box may be. ``shift`` and ``scale`` are standard deviations, as parts of the side.
    """
    turn = rng.normal(0, 0.1) if rng.random() < 0.9 else rng.uniform(-0.9, 0.9)
    region = region_of_points(points, margin=margin, angle=angle + turn)
    side = region.side * float(np.exp(rng.normal(0, scale)))
    dx, dy = rng.normal(0, shift, 2) * region.side
    return Region(region.x + dx, region.y + dy, side, region.angle)


def random_region(rng: Generator, image: Image) -> Region:
    """A square anywhere in a picture, turned by up to a radian."""
    height, width = image.shape[:2]
    side = float(np.exp(rng.uniform(np.log(24), np.log(min(height, width)))))
    return Region(rng.uniform(0, width), rng.uniform(0, height), side, rng.uniform(-1, 1))


def colour(rng: Generator, image: Image) -> Image:
    """Brightness, contrast, gamma, low light, colour cast or grey."""
    levels = np.arange(256, dtype=np.float32) / 255
    gamma, gain, bias = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.2)), rng.normal(0, 0.08)
    if rng.random() < 0.1:
        gain *= rng.uniform(0.15, 0.5)  # low light
    tables = []
    for _ in range(3):
        cast = np.exp(rng.normal(0, 0.06))
        tables.append(np.clip((levels**gamma * gain * cast + bias) * 255, 0, 255))
    table = np.stack(tables, axis=1).astype(np.uint8).reshape(256, 1, 3)
    out = cv2.LUT(image, table)
    if rng.random() < 0.15:
        out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return out.astype(np.uint8, copy=False)


def soft_blur(rng: Generator, image: Image) -> Image:
    """Out of focus."""
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0)).astype(np.uint8, copy=False)


def motion_blur(rng: Generator, image: Image) -> Image:
    """Moved during the exposure, 3 to 13 pixels in any direction."""
    length = int(rng.integers(3, 14)) | 1
    kernel = np.zeros((length, length), np.float32)
    angle, middle = rng.uniform(0, np.pi), length // 2
    dx, dy = np.cos(angle) * middle, np.sin(angle) * middle
    ends = (round(middle - dx), round(middle - dy)), (round(middle + dx), round(middle + dy))
    cv2.line(kernel, *ends, 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum()).astype(np.uint8, copy=False)


def compress(rng: Generator, image: Image) -> Image:
    """JPEG at a low quality."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 70))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def lower_resolution(rng: Generator, image: Image) -> Image:
    """A small face enlarged: reduced by 1.5 to 4 and brought back."""
    height, width = image.shape[:2]
    factor = rng.uniform(1.5, 4)
    small = cv2.resize(image, (max(8, int(width / factor)), max(8, int(height / factor))), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def noise(rng: Generator, image: Image) -> Image:
    """Sensor noise."""
    grain = rng.integers(0, 2**31)
    field = np.empty(image.shape, np.int16)
    cv2.setRNGSeed(int(grain))
    cv2.randn(field, np.zeros(3), np.full(3, rng.uniform(3, 16)))
    noisy: Image = np.clip(image + field, 0, 255).astype(np.uint8)
    return noisy


def occlude(rng: Generator, image: Image) -> Image:
    """A rectangle or ellipse of flat colour or noise over up to a fifth of the picture."""
    height, width = image.shape[:2]
    w, h = int(width * rng.uniform(0.08, 0.5)), int(height * rng.uniform(0.08, 0.5))
    x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
    shade = tuple(int(v) for v in rng.integers(0, 256, 3))
    out = image.copy()
    if rng.random() < 0.5:
        cv2.rectangle(out, (x - w // 2, y - h // 2), (x + w // 2, y + h // 2), shade, -1)
    else:
        cv2.ellipse(out, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, shade, -1)
    return out


def cut_off(rng: Generator, image: Image) -> Image:
    """The face half out of the frame: up to 45 % of the crop, from one side, is black."""
    height, width = image.shape[:2]
    part, side = rng.uniform(0.1, 0.45), int(rng.integers(4))
    out = image.copy()
    if side == 0:
        out[: int(height * part)] = 0
    elif side == 1:
        out[int(height * (1 - part)) :] = 0
    elif side == 2:
        out[:, : int(width * part)] = 0
    else:
        out[:, int(width * (1 - part)) :] = 0
    return out


# each with the share of pictures that it touches
_LOOKS: tuple[tuple[float, Callable[[Generator, Image], Image]], ...] = (
    (0.85, colour),
    (0.12, soft_blur),
    (0.12, motion_blur),
    (0.12, lower_resolution),
    (0.15, noise),
    (0.15, compress),
)


def look(rng: Generator, image: Image, *, strength: float = 1.0) -> Image:
    """Change how a picture looks, never where things are. ``strength`` scales how often each change is drawn."""
    for share, change in _LOOKS:
        if rng.random() < share * strength:
            image = change(rng, image)
    return image
