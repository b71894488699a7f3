"""Generic head: a rigid shape in three dimensions for the landmarks of ibug-68, from which the pose is computed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HEAD_FILE = Path(__file__).with_name("head.json")
"""The shipped head. ``nasion head`` writes it; the file names the command, the data and the date."""

PUPILS_APART = 63.0
"""Distance between the pupils of the head in millimetres: the mean of adults (Dodgson, Variation and extrema of human
interpupillary distance, SPIE 5291, 2004)."""

ORIGIN = 27
"""Landmark of ibug-68 at the origin of the head: the nasion, the root of the nose."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Generic head, looking at the camera: x to the right of the image, y down, z away from the camera.

    Attributes:
        points: (68, 3) landmarks in millimetres, mirror-symmetric about x = 0, with the nasion at the origin. The plane
            through the outer corners of the eyes and of the mouth is parallel to the y axis.
        spread: (68,) standard deviation in millimetres of each landmark, from face to face and with expression.
        hidden_from: (68,) yaw in degrees from which on the head itself hides the landmark in half of the images, when
            its side turns away; 180 for a landmark that stays visible.
    """

    points: NDArray[np.float64]
    spread: NDArray[np.float64]
    hidden_from: NDArray[np.float64]


@cache
def generic_head() -> Head:
    """Return the shipped head."""
    values = json.loads(HEAD_FILE.read_text(encoding="utf-8"))
    return Head(*(np.array(values[name], np.float64) for name in ("points", "spread", "hidden_from")))
