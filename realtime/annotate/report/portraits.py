"""Thumbnails of faces, from the source."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import cv2
import numpy as np

from ....engines.errors import SourceError
from ...faces.drawing import draw
from ...faces.face import Face
from ...faces.frame import Frame
from ...values.arrays import Image
from ..first_pass import open_video, read_image_of
from ..job import Job
from .collecting import Portrait

SIDE = 168  # pixels of a thumbnail
_MARGIN = 1.9  # side of the part that is shown, in sides of the face
_FAR = 4.0  # seconds to the next frame from which the source is opened again
_EDGE = (44, 40, 38)  # colour outside of the image


def thumbnails(job: Job, wanted: Sequence[tuple[Portrait, bool]]) -> list[str]:
    """Return a ``data:`` URL for each face; empty where its frame cannot be read again.

    Args:
        job: job of the input.
        wanted: faces, and whether to draw their landmarks.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i][0].index)
    found = [""] * len(wanted)
    frames = _frames_at(job, [wanted[i][0] for i in order])
    for i, frame in zip(order, frames, strict=False):
        if frame is not None:
            portrait, drawn = wanted[i]
            found[i] = _url(_thumbnail(frame.image, portrait.face, drawn=drawn))
    return found


def _frames_at(job: Job, portraits: Sequence[Portrait]) -> Iterator[Frame | None]:
    """Yield the frame of each portrait, which are in the order of their frames."""
    if job.input.images:
        for portrait in portraits:
            frame = read_image_of(job, portrait.index)
            yield frame if isinstance(frame, Frame) else None
        return
    source: Any = None
    last: Frame | None = None
    try:
        for portrait in portraits:
            if source is None or last is None or portrait.time - last.time > _FAR:
                if source is not None:
                    source.close()
                source = open_video(job, portrait.time)
                last = None
            while last is None or last.index < portrait.index:
                following = next(source, None)
                if following is None:
                    break
                last = following
            yield last if last is not None and last.index == portrait.index else None
    except SourceError:  # a damaged place, or a source that is gone
        yield from repeat(None)
    finally:
        if source is not None:
            source.close()


def _thumbnail(image: Image, face: Face, *, drawn: bool) -> Image:
    x0, y0, x1, y1 = np.asarray(face.box, float).tolist()
    half = _MARGIN * max(x1 - x0, y1 - y0, 8.0) / 2
    if drawn:
        image = draw(image, [face], box=False, label=False, axes=False, bars=False)
    scale = SIDE / (2 * half)
    x, y = (x0 + x1) / 2 - half, (y0 + y1) / 2 - half
    matrix = np.array([[scale, 0, -scale * x], [0, scale, -scale * y]])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=how, borderValue=_EDGE), np.uint8)


def _url(image: Image) -> str:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
