"""Image sources: a single image, or a folder in natural order at 25 frames a second."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...engines.errors import SourceError
from ..faces import Image
from .base import FrameSource, Images, SourceInfo, TimeRange

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm")
FOLDER_RATE = Fraction(25)

_log = logging.getLogger(__name__)


def read_image(path: Path) -> Image:
    """Read an image as upright BGR uint8 (h, w, 3), for any bit depth, channels and orientation tag.

    Raises:
        SourceError: the file is missing, cannot be opened, or is not an image.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check the path and its rights") from error
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as error:
        raise SourceError(f"{path}: OpenCV cannot decode it ({error.err}); save it again as PNG") from error
    if image is None:
        raise SourceError(f"{path}: {_what_is_wrong(data)}")
    return np.ascontiguousarray(image, np.uint8)


def _what_is_wrong(data: NDArray[np.uint8]) -> str:
    """Describe why OpenCV cannot decode the bytes of a file to a BGR image."""
    allowed = f"allowed: {', '.join(IMAGE_SUFFIXES)}"
    if not data.size:
        return f"the file is empty (0 bytes); {allowed}"
    with suppress(cv2.error):
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if image is not None:
            return f"its values are {image.dtype}; allowed: integers of 8 or 16 bits; save it again as PNG"
    return f"the file is damaged or not an image; {allowed}"


def open_image(path: Path, time_range: TimeRange) -> FrameSource:
    """Open one image as a source of one frame at time 0.

    Raises:
        SourceError: the image cannot be read, or is outside the time range.
    """
    images = ((read_image(path), 0.0, 0) for _ in range(1))
    info = SourceInfo(str(path), 0, 0, FOLDER_RATE, 1, float(1 / FOLDER_RATE), files=(path,))
    return FrameSource(images, info, time_range)


def open_folder(folder: Path, time_range: TimeRange) -> FrameSource:
    """Open all images of a folder in natural order (2 before 10) at 25 frames a second; sizes may differ.

    An image that cannot be decoded is logged and skipped; the others keep their times and numbers.

    Raises:
        SourceError: no image in the folder can be read, or none is within the time range.
    """
    try:
        paths = sorted(filter(_is_image, folder.iterdir()), key=lambda path: natural_order(path.name))
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed ({error.strerror}); check its rights") from error
    if not paths:
        raise SourceError(f"{folder}: the folder has no image; allowed: {', '.join(IMAGE_SUFFIXES)}")
    length = float(len(paths) / FOLDER_RATE)
    info = SourceInfo(str(folder), 0, 0, FOLDER_RATE, len(paths), length, files=tuple(paths))
    return FrameSource(_read_all(paths, time_range.start or 0.0), info, time_range)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _read_all(paths: Sequence[Path], start: float) -> Images:
    for number, path in enumerate(paths):
        time = float(number / FOLDER_RATE)
        if time < start:
            continue
        try:
            yield read_image(path), time, number
        except SourceError as error:
            _log.warning("left out: %s", error)


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Return a sort key that puts ``frame2`` before ``frame10``."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part.casefold() for place, part in enumerate(parts)], name
