"""Transparent images, shown over white."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..values.arrays import Image


def over_white(image: Image, opacity: NDArray[np.uint8]) -> Image:
    """Return a BGR or RGB image (h, w, 3) over white, by its opacity (h, w) from 0 to 255."""
    inverse = cv2.multiply(255 - image, cv2.merge([opacity, opacity, opacity]), scale=1 / 255)
    return np.asarray(255 - inverse, np.uint8)
