"""The two kinds of array that everything here handles, and what counts as a number in the output of a network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
"""Points, boxes, transforms, scores."""
Image = NDArray[np.uint8]
"""BGR, (height, width, 3)."""

FARTHEST = 1e6
"""Pixels from the corner of a picture, beyond which no point or box of a face lies."""


def probability(values: FloatArray) -> FloatArray:
    """Return scores, presence or confidence within 0..1: what is not finite is 0, all else is clipped."""
    finite = np.where(np.isfinite(values), values, np.float32(0))
    clipped: FloatArray = np.minimum(np.maximum(finite, np.float32(0)), np.float32(1))
    return clipped


def possible(places: FloatArray, axes: int | tuple[int, ...]) -> NDArray[np.bool_]:
    """Return whether all coordinates along ``axes`` are finite and within ``FARTHEST``."""
    return np.asarray((np.abs(places) < FARTHEST).all(axis=axes))  # false for NaN, too
