"""The two things that travel through the pipeline. The schemes by which points are numbered are handed on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .schemes import AFLW_19, AFLW_21, COFW_29, IBUG_68, JD_106, SCHEMES, WFLW_98, LandmarkScheme, scheme_of

__all__ = [
    "AFLW_19",
    "AFLW_21",
    "COFW_29",
    "IBUG_68",
    "JD_106",
    "SCHEMES",
    "WFLW_98",
    "Face",
    "FloatArray",
    "Frame",
    "Image",
    "LandmarkScheme",
    "scheme_of",
]

FloatArray = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a video.

    Attributes:
        image: BGR, uint8, (height, width, 3), upright.
        time: seconds since the start of the source, strictly increasing within it.
        index: number of the frame within the source, from 0.
    """

    image: Image
    time: float
    index: int

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.image.shape[0])


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one frame. Coordinates are pixels of the frame; the centre of its top-left pixel is (0, 0).

    Attributes:
        id: identity, from 1, the same for the same person while the tracker follows it.
        box: (4,) float32: x0, y0, x1, y1 around the points.
        score: in 0..1, how sure the network is that a face is there.
        points: (n, 2) float32: x, y of each landmark in the order of its scheme.
        confidence: (n,) float32 in 0..1: probability that the point lies within 10 % of the inter-ocular distance.
    """

    id: int
    box: FloatArray
    score: float
    points: FloatArray
    confidence: FloatArray
