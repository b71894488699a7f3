"""Openings of eyes and mouth: distance between lids or lips over the distance between the corners."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...engines.errors import NasionError
from ..values.arrays import FloatArray
from ..values.scheme import LandmarkScheme

EYES, MOUTH = ("left_eye", "right_eye"), ("mouth",)
_TINY = 1e-6  # pixels


class Openings:
    """Openings of some parts of a face, from landmarks of a scheme.

    The opening of an eye is its eye aspect ratio (EAR): the mean distance between opposite landmarks of the upper and
    the lower lid, divided by the distance between the corners of the eye (Soukupová and Čech, Real-time eye blink
    detection using facial landmarks, CVWW 2016, equation 1). The opening of the mouth is the same ratio for its inner
    lips, 0 when they touch. Ratios do not depend on size and rotation of the face in the image. Those of turned faces
    are larger, because the corners come closer.
    """

    def __init__(self, scheme: LandmarkScheme, parts: Sequence[str] = EYES + MOUTH) -> None:
        """Prepare for the landmarks of a scheme.

        Raises:
            NasionError: the scheme does not tell the landmarks of a part.
        """
        if lacking := [part for part in parts if part not in scheme.openings]:
            measure = "mouth" if lacking[0] in MOUTH else "eyes"
            raise NasionError(
                f"scheme {scheme.name!r} has no landmarks that tell how far the {lacking[0].replace('_', ' ')} is "
                f"open; leave {measure} out of measures, or use a network of 68 landmarks, such as landmarks-68"
            )
        openings = [scheme.openings[part] for part in parts]
        pairs = [pair for opening in openings for pair in (opening.corners, *opening.pairs)]
        self._ends = np.array([*(first for first, _ in pairs), *(second for _, second in pairs)])
        self._counts = [len(opening.pairs) for opening in openings]

    def __call__(self, landmarks: FloatArray) -> list[float]:
        """Return the opening of each part from landmarks (n, 2)."""
        ends = np.asarray(landmarks).take(self._ends, axis=0)
        ways = ends[: len(ends) // 2] - ends[len(ends) // 2 :]
        lengths: list[float] = np.hypot(ways[:, 0], ways[:, 1]).tolist()
        found, at = [], 0
        for count in self._counts:
            width, apart = lengths[at], lengths[at + 1 : at + 1 + count]
            found.append(sum(apart) / (count * max(width, _TINY)))
            at += 1 + count
        return found
