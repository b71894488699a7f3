"""Array types, and checks of the values in network outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
"""Array of landmarks, bounding boxes, transforms or scores."""
Image = NDArray[np.uint8]
"""BGR image, (height, width, 3)."""

FARTHEST = 1e6
"""Largest absolute coordinate of a landmark or bounding box, in pixels of the image."""


def within(values: FloatArray, least: float, most: float) -> bool:
    """Return True if all values are from ``least`` to ``most``; False if one is NaN, or if there are none."""
    # argmin and argmax find a NaN, too, and take a third of the time of min and max
    return bool(values.size) and least <= values.item(values.argmin()) and values.item(values.argmax()) <= most


def probability(values: FloatArray) -> FloatArray:
    """Clip scores, presence or confidence to 0..1; values that are not finite become 0."""
    if within(values, 0, 1):  # nearly always
        return values
    finite = np.where(np.isfinite(values), values, np.float32(0))
    clipped: FloatArray = np.minimum(np.maximum(finite, np.float32(0)), np.float32(1))
    return clipped


def possible(places: FloatArray, axes: int | tuple[int, ...]) -> NDArray[np.bool_]:
    """Return True where all coordinates along ``axes`` are finite and at most ``FARTHEST`` in absolute value."""
    return np.asarray((np.abs(places) <= FARTHEST).all(axis=axes))  # also False for NaN
