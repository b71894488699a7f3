"""The shipped photograph and views of its face as network inputs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..spec import Spec

PHOTOGRAPH = Path(__file__).with_name("photographs") / "astronaut.png"
FACE = (170.0, 60.0, 290.0, 210.0)  # bounding box of the face with hair and chin: x0, y0, x1, y1
LANDMARKS = (180.0, 87.0, 272.0, 178.0)  # tight bounding box of the 68 landmarks of the shipped network

# side of the image divided by the side of the landmarks' bounding box, for networks that detect the face themselves
_WIDE = {"faces": 1.25, "detector": 2.7}


def views(spec: Spec, count: int) -> NDArray[np.float32]:
    """Render ``count`` views of the face that differ in scale, rotation, position and brightness.

    Returns:
        Images (count, 3, H, W), with the size and normalisation of ``spec``.
    """
    photograph = cv2.imread(str(PHOTOGRAPH))
    assert photograph is not None, f"{PHOTOGRAPH} is not what was installed"
    width, height = spec.size
    low, high = np.array(LANDMARKS[:2]), np.array(LANDMARKS[2:])
    side = _WIDE.get(spec.task, spec.crop_margin) * float((high - low).max())
    images = np.empty((count, 3, height, width), np.float32)
    for i, planes in enumerate(images):
        x, y = (low + high) / 2 + (i % 4) * np.array([1.5, -1.0])
        matrix = cv2.getRotationMatrix2D((x, y), 5.0 * (i % 4), min(width, height) / side / 1.04 ** (i % 4))
        matrix[:, 2] += ((width - 1) / 2 - x, (height - 1) / 2 - y)
        seen = cv2.warpAffine(photograph, matrix, (width, height), flags=cv2.INTER_AREA).astype(np.float32)
        planes[...] = (seen * (1 - 0.1 * (i % 3))).transpose(2, 0, 1)[:: -1 if spec.channels == "rgb" else 1]
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (spec.mean, spec.std))
    return (images - mean) / std
