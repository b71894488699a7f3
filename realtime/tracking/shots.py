"""Is this frame the first of a new shot?"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from ..faces import FloatArray, Image
from ..images.pixels import Pixels, pixels_of

# All chosen on 800 photographs under a virtual camera: pans of up to a tenth of the picture a frame, zooms of
# 10 %, turns of 6 degrees, doubled light, noise, covers over nearly half the picture, against cuts between
# two of them and jumps within one.
_WIDTH, _HEIGHT = 64, 36  # of the thumbnail
_ALIKE = 0.8  # correlation of two thumbnails at and above which nothing needs a closer observation
_FLAT = 4.0  # standard deviation, grey levels, below which a thumbnail, or part of one, shows nothing
_PARTS_X, _PARTS_Y = (2, 16, 31, 46), (1, 12, 23)  # corners of the parts
_PART = (16, 12)  # their size
_REACH = (7, 4)  # how far a part may have moved between two frames
_FOUND = 0.87  # correlation at and above which a part of the last frame is seen in this one
_ENOUGH = 3  # parts found again that make it the same shot


class _Thumbnail(NamedTuple):
    """A small green plane.

    Attributes:
        pixels: (36, 64) float32, less their mean.
        contrast: their standard deviation.
    """

    pixels: FloatArray
    contrast: float


class ShotChangeDetector:
    """Compares each frame with the one before.

    Two thumbnails that correlate are the same shot, whatever the light does. Where they do not, parts of the
    old one are looked for in the new one nearby: the camera may have moved, or something may have come before
    it. A frame without contrast (black, white, fog) says nothing; the next is compared with the one before.
    """

    def __init__(self) -> None:
        """Start without a past."""
        self._last: _Thumbnail | None = None
        self._shape: tuple[int, ...] = ()

    def update(self, picture: Image | Pixels) -> bool:
        """Whether this BGR picture, next after the one of the last call, begins a new shot.

        The very first does not. A picture of another size does.
        """
        pixels = pixels_of(picture)
        last, now, shape = self._last, _thumbnail(pixels), pixels.shape
        resized = last is not None and shape != self._shape
        self._shape = shape
        if last is None or resized:
            self._last = now
            return resized
        if now.contrast < _FLAT:
            return False
        self._last = now
        return not (_correlation(last, now) >= _ALIKE or _found_again(last.pixels, now.pixels))

    def reset(self) -> None:
        """Forget the past."""
        self._last, self._shape = None, ()


def _thumbnail(picture: Pixels) -> _Thumbnail:
    """From few pixels, in few calls: this runs for every frame, and finds nothing in nearly all of them."""
    small = picture.thumbnail(_WIDTH, _HEIGHT)
    mean, deviation = cv2.meanStdDev(small)
    pixels: FloatArray = np.subtract(small[:, :, 1], mean[1, 0], dtype=np.float32)
    return _Thumbnail(pixels, float(deviation[1, 0]))


def _correlation(a: _Thumbnail, b: _Thumbnail) -> float:
    shared = float(np.vdot(a.pixels, b.pixels)) / a.pixels.size
    return shared / max(a.contrast * b.contrast, 1e-6)


def _found_again(last: FloatArray, now: FloatArray) -> bool:
    """Whether enough parts of the last thumbnail are seen in this one."""
    last, now = (np.asarray(cv2.GaussianBlur(x, (3, 3), 0), np.float32) for x in (last, now))
    found = 0
    for y in _PARTS_Y:
        for x in _PARTS_X:
            found += _found(last, now, x, y)
            if found == _ENOUGH:
                return True
    return False


def _found(last: FloatArray, now: FloatArray, x: int, y: int) -> bool:
    """Whether the part of the last thumbnail at x, y is seen near there in this one."""
    width, height = _PART
    part, here = last[y : y + height, x : x + width], now[y : y + height, x : x + width]
    if part.std() < _FLAT:  # a plain wall has no shape to look for, but stays a wall of that shade
        return bool(here.std() < _FLAT and abs(here.mean() - part.mean()) < 2 * _FLAT)
    left, top = max(x - _REACH[0], 0), max(y - _REACH[1], 0)
    near = now[top : y + height + _REACH[1], left : x + width + _REACH[0]]
    return float(cv2.matchTemplate(near, part, cv2.TM_CCOEFF_NORMED).max()) >= _FOUND
