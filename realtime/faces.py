"""The two things that travel through the pipeline, and the schemes by which points are numbered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class LandmarkScheme:
    """How the points of a face are numbered (0-based throughout).

    Attributes:
        name: the usual name of the scheme.
        count: number of points.
        left_eye, right_eye: points whose mean is the eye's centre; left and right as seen in the picture.
        mouth: points whose mean is the mouth's centre.
        outer_corners: the two points of the inter-ocular distance.
        flip: (count,) index of the point that each becomes in a mirrored picture.
        lines: runs of points joined when drawn; a run whose last point repeats its first is closed.
    """

    name: str
    count: int
    left_eye: tuple[int, ...]
    right_eye: tuple[int, ...]
    mouth: tuple[int, ...]
    outer_corners: tuple[int, int]
    flip: tuple[int, ...]
    lines: tuple[tuple[int, ...], ...]


def _mirror(count: int, *pairs: tuple[int, int]) -> tuple[int, ...]:
    order = list(range(count))
    for a, b in pairs:
        order[a], order[b] = b, a
    return tuple(order)


IBUG_68 = LandmarkScheme(
    name="ibug-68",
    count=68,
    left_eye=tuple(range(36, 42)),
    right_eye=tuple(range(42, 48)),
    mouth=tuple(range(48, 68)),
    outer_corners=(36, 45),
    flip=_mirror(
        68,
        *((i, 16 - i) for i in range(8)),  # jaw
        *((17 + i, 26 - i) for i in range(5)),  # brows
        *((31 + i, 35 - i) for i in range(2)),  # nostrils
        *((36 + i, 45 - i) for i in range(4)),  # eyes: upper lids and corners
        *((41 - i, 46 + i) for i in range(2)),  # eyes: lower lids
        *((48 + i, 54 - i) for i in range(3)),  # outer lip, upper
        *((59 - i, 55 + i) for i in range(2)),  # outer lip, lower
        *((60 + i, 64 - i) for i in range(2)),  # inner lip, upper
        (67, 65),
    ),
    lines=(
        tuple(range(17)),
        tuple(range(17, 22)),
        tuple(range(22, 27)),
        tuple(range(27, 31)),
        tuple(range(31, 36)),
        (*range(36, 42), 36),
        (*range(42, 48), 42),
        (*range(48, 60), 48),
        (*range(60, 68), 60),
    ),
)

SCHEMES = {scheme.count: scheme for scheme in (IBUG_68,)}


def scheme_of(points: int) -> LandmarkScheme | None:
    """The scheme with that many points, or None where only dots can be drawn."""
    return SCHEMES.get(points)
