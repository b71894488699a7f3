"""Shot change detection."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from ..images.pixels import Pixels, pixels_of
from ..values.arrays import FloatArray, Image

# All chosen on 800 photographs under a virtual camera: pans of up to a tenth of the image a frame, zooms of 10 %,
# rotations of 6 degrees, doubled brightness, noise and occluders over nearly half the image, against shot changes
# between two photographs and jumps within one.
_WIDTH, _HEIGHT = 64, 36  # of the thumbnail
_ALIKE = 0.8  # correlation of two thumbnails at or above which the shot is the same
_FLAT = 4.0  # standard deviation in grey levels below which a thumbnail, or a part of one, has no contrast
_PARTS_X, _PARTS_Y = (2, 16, 31, 46), (1, 12, 23)  # top-left corners of the parts
_PART = (16, 12)  # width and height of a part
_REACH = (7, 4)  # displacement of a part between two frames, at most
_FOUND = 0.87  # correlation at or above which a part of the last frame is found in this one
_ENOUGH = 3  # number of parts found again that makes it the same shot


class _Thumbnail(NamedTuple):
    """Thumbnail of the green plane.

    Attributes:
        pixels: (36, 64) float32, with the mean subtracted.
        contrast: standard deviation of the pixels.
    """

    pixels: FloatArray
    contrast: float


class ShotChangeDetector:
    """Shot change detector that compares each frame with the previous one.

    Two thumbnails that correlate are the same shot, whatever the lighting. If they do not correlate, parts of the old
    thumbnail are searched near their position in the new one: the camera may have moved, or an object may have come
    in front of it. A frame without contrast (black, white, fog) is skipped; the next frame is compared with the one
    before it.
    """

    def __init__(self) -> None:
        """Start without a previous frame."""
        self._last: _Thumbnail | None = None

    def update(self, image: Image | Pixels) -> bool:
        """Return True if this BGR image, the next after that of the last call, starts a new shot.

        The first image does not. An image of another size does only if it shows something else.
        """
        last, now = self._last, _thumbnail(pixels_of(image))
        if last is None:
            self._last = now
            return False
        if now.contrast < _FLAT:
            return False
        self._last = now
        return not (_correlation(last, now) >= _ALIKE or _found_again(last.pixels, now.pixels))

    def reset(self) -> None:
        """Forget the previous frame."""
        self._last = None


def _thumbnail(image: Pixels) -> _Thumbnail:
    """Compute the thumbnail of an image, from few pixels and in few calls because this runs for every frame."""
    green = cv2.extractChannel(image.thumbnail(_WIDTH, _HEIGHT), 1)
    mean, deviation = cv2.meanStdDev(green)
    pixels: FloatArray = np.subtract(green, mean[0, 0], dtype=np.float32)
    return _Thumbnail(pixels, float(deviation[0, 0]))


def _correlation(a: _Thumbnail, b: _Thumbnail) -> float:
    shared = float(np.vdot(a.pixels, b.pixels)) / a.pixels.size
    return shared / max(a.contrast * b.contrast, 1e-6)


def _found_again(last: FloatArray, now: FloatArray) -> bool:
    """Return True if enough parts of the last thumbnail are found in this one."""
    last, now = (np.asarray(cv2.GaussianBlur(x, (3, 3), 0), np.float32) for x in (last, now))
    found = 0
    for y in _PARTS_Y:
        for x in _PARTS_X:
            found += _found(last, now, x, y)
            if found == _ENOUGH:
                return True
    return False


def _found(last: FloatArray, now: FloatArray, x: int, y: int) -> bool:
    """Return True if the part of the last thumbnail at x, y is found nearby in this one."""
    width, height = _PART
    part, here = last[y : y + height, x : x + width], now[y : y + height, x : x + width]
    if part.std() < _FLAT:  # a flat part has no texture to match, but must stay flat and keep its grey level
        return bool(here.std() < _FLAT and abs(here.mean() - part.mean()) < 2 * _FLAT)
    left, top = max(x - _REACH[0], 0), max(y - _REACH[1], 0)
    near = now[top : y + height + _REACH[1], left : x + width + _REACH[0]]
    return float(cv2.matchTemplate(near, part, cv2.TM_CCOEFF_NORMED).max()) >= _FOUND
