"""Region of interest of a source: the part of its frames in which faces are tracked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...faces.face import Face
from ...faces.frame import Frame
from ...values.landmarks import Landmarks
from ..specs import Roi


def part(frame: Frame, roi: Roi) -> Frame:
    """Return a part of a frame: the region of interest as far as it lies in the image."""
    x, y, width, height = roi
    return Frame(frame.image[y : y + height, x : x + width], frame.time, frame.index, frame.source)


def outside(roi: Roi | None, frame: Frame) -> str:
    """Return an error message if no pixel of the region of interest lies in the image; otherwise an empty text."""
    if roi is None or (roi[0] < frame.width and roi[1] < frame.height):
        return ""
    return (
        f"roi={','.join(map(str, roi))} is outside the image, which is {frame.width}x{frame.height} pixels; "
        f"give x below {frame.width} and y below {frame.height}"
    )


def moved(face: Face, x: int, y: int) -> Face:
    """Return a face of a part of the image in pixels of the whole."""
    offset = np.array([x, y], np.float32)
    return replace(
        face, box=face.box + np.tile(offset, 2), landmarks=Landmarks(face.landmarks + offset, face.landmarks.scheme)
    )
