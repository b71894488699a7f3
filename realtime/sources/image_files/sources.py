"""Image sources: an image file, or a folder of them in natural order at 25 frames a second."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from ....engines.errors import SourceError, printable
from ..base import FrameSource, Images, SourceInfo, TimeRange
from .reading import IMAGE_SUFFIXES, count_images, read_image, read_images

FOLDER_RATE = Fraction(25)

_log = logging.getLogger(__name__)


def open_image(path: Path, time_range: TimeRange, max_pixels: int) -> FrameSource:
    """Open an image file: one image at time 0, an animation at its own times, or pages at 25 a second.

    Raises:
        SourceError: the image cannot be read, or is outside the time range.
    """
    count, seconds = count_images(path, max_pixels)
    rate = 1 / Fraction(seconds).limit_denominator(1000)
    info = SourceInfo(printable(path), 0, 0, rate, count, float(count / rate), files=(path,))
    images = ((image, time, number) for number, (image, time) in enumerate(read_images(path, max_pixels)))
    return FrameSource(images, info, time_range)


def open_folder(folder: Path, time_range: TimeRange, max_pixels: int) -> FrameSource:
    """Open all images of a folder in natural order (2 before 10) at 25 frames a second; sizes may differ.

    Of a file with several images the first is taken. An image that cannot be decoded is logged and skipped; the others
    keep their times and numbers.

    Raises:
        SourceError: no image in the folder can be read, or none is within the time range.
    """
    name = printable(folder)
    try:
        paths = images_in(folder)
    except OSError as error:
        raise SourceError(f"{name}: cannot be listed ({error.strerror}); check its rights") from error
    if not paths:
        raise SourceError(f"{name}: the folder has no image; allowed: {', '.join(IMAGE_SUFFIXES)}")
    length = float(len(paths) / FOLDER_RATE)
    info = SourceInfo(name, 0, 0, FOLDER_RATE, len(paths), length, files=tuple(paths))
    return FrameSource(_read_all(paths, time_range.start or 0.0, max_pixels), info, time_range)


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder in natural order, the order of their numbers as frames.

    Raises:
        OSError: the folder cannot be listed.
    """
    return sorted(filter(_is_image, folder.iterdir()), key=lambda path: natural_order(path.name))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _read_all(paths: Sequence[Path], start: float, max_pixels: int) -> Images:
    for number, path in enumerate(paths):
        time = float(number / FOLDER_RATE)
        if time < start:
            continue
        try:
            yield read_image(path, max_pixels), time, number
        except SourceError as error:
            _log.warning("left out: %s", error)


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Return a sort key that puts ``frame2`` before ``frame10``."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part.casefold() for place, part in enumerate(parts)], name
