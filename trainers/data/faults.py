"""Faults of labels: coordinates and boxes that cannot be right, found before any training."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ...realtime.values.arrays import FloatArray
from .base import DataError, DetectionSet, LandmarkSet, broken_points
from .images import ImageReader, read_image

log = logging.getLogger(__name__)

SMALLEST_IMAGE = 8  # pixels of the shorter side
SMALLEST_FACE = 2.0  # pixels of the longer extent of the landmarks
FAR_OUTSIDE = 1.0  # distance from the image, relative to its longer side
OUTLIER = 8.0  # distance of a landmark from the middle of its face, relative to the median of all its landmarks
_SHOWN = 3  # faults in an error message


@dataclass(frozen=True, slots=True)
class Fault:
    """A label that cannot be right.

    Attributes:
        index: number of the face or image in its set.
        file: its image.
        problem: what is wrong.
        box: number of the box in its image; None for a face or an image.
    """

    index: int
    file: Path
    problem: str
    box: int | None = None

    def __str__(self) -> str:
        """Return file and problem."""
        return f"{self.file}: {self.problem}"


def image_sizes(files: Sequence[Path]) -> FloatArray:
    """Return width and height (N, 2) of images, from the heads of the files; NaN where these do not tell.

    The first frame of a video tells the size of all.
    """
    known: dict[Path, tuple[float, float]] = {}
    holders = [file.parent if file.parent.is_file() else file for file in files]
    for file, holder in zip(files, holders, strict=True):
        if holder not in known:
            known[holder] = _size(file) if file == holder else _size_of_video(holder)
    return np.array([known[holder] for holder in holders], np.float32).reshape(-1, 2)


def _size_of_video(file: Path) -> tuple[float, float]:
    try:
        height, width = read_image(file / "1").shape[:2]
    except DataError:
        return np.nan, np.nan  # reading the frame will name the fault
    return width, height


def _size(file: Path) -> tuple[float, float]:
    """Return the size of an image as it is shown, upright."""
    if not file.is_file():
        return np.nan, np.nan  # an element of an array
    try:
        with Pillow.open(file) as image:
            width, height = image.size
            turned = image.getexif().get(274, 1) >= 5 if image.format == "JPEG" else False
    except Exception:  # noqa: BLE001 - a plugin raises whatever it meets; reading the image will name the fault
        return np.nan, np.nan
    return (height, width) if turned else (width, height)


def landmark_faults(data: LandmarkSet, sizes: FloatArray | None = None) -> list[Fault]:
    """Return the faults of labelled faces, at most one for each face.

    Args:
        data: the faces.
        sizes: width and height (N, 2) of their images, as ``image_sizes`` returns them; None to read them.
    """
    sizes = image_sizes(data.files) if sizes is None else sizes
    found = []
    for i, file in enumerate(data.files):
        problem = _problem(data.points[i].astype(np.float64), *sizes[i].tolist())
        if problem:
            found.append(Fault(i, file, problem))
    return found


def _problem(points: NDArray[np.float64], width: float, height: float) -> str:
    """Return what is wrong with a face's landmarks (n, 2); empty if nothing is."""
    if min(width, height) < SMALLEST_IMAGE:
        return f"the image has {width:g} x {height:g} pixels; at least {SMALLEST_IMAGE} x {SMALLEST_IMAGE} are needed"
    broken = np.flatnonzero(broken_points(points))
    if len(broken):
        return f"{_landmark(broken[0], points[broken[0]])} is not two numbers, nor none for both (not annotated)"
    known = np.flatnonzero(np.isfinite(points).all(axis=1))
    if not len(known):
        return "no landmark is annotated"
    placed = points[known]
    if np.isfinite(width):
        low, high = np.array([-0.5, -0.5]), np.array([width - 0.5, height - 0.5])
        beyond = np.maximum(np.maximum(low - placed, placed - high), 0).max(axis=1)
        far = int(beyond.argmax())
        if beyond[far] > FAR_OUTSIDE * max(width, height):
            return f"{_landmark(known[far], placed[far])} lies far outside the image of {width:g} x {height:g} pixels"
        if (beyond > 0).all():
            return f"all landmarks lie outside the image of {width:g} x {height:g} pixels"
    extent = float((placed.max(axis=0) - placed.min(axis=0)).max())
    if len(known) > 1 and extent < SMALLEST_FACE:
        return f"all landmarks lie within {extent:.2g} pixels; a face needs at least {SMALLEST_FACE:g}"
    distance = np.linalg.norm(placed - np.median(placed, axis=0), axis=1)
    usual, far = float(np.median(distance)), int(distance.argmax())
    if distance[far] > OUTLIER * usual > 0:
        return f"{_landmark(known[far], placed[far])} lies {distance[far] / usual:.0f} times as far out as the others"
    return ""


def _landmark(index: int, place: NDArray[np.float64]) -> str:
    x, y = place.tolist()
    return f"landmark {index + 1} at ({x:g}, {y:g})"


def box_faults(data: DetectionSet, sizes: FloatArray | None = None) -> list[Fault]:
    """Return the faults of bounding boxes, one for each box that has no area or lies outside its image.

    Boxes that the annotators marked as invalid do not count.

    Args:
        data: the images with their boxes.
        sizes: see ``landmark_faults``.
    """
    sizes = image_sizes(data.files) if sizes is None else sizes
    return [
        Fault(i, file, problem, k)
        for i, file in enumerate(data.files)
        for k, (box, invalid) in enumerate(zip(data.boxes[i], data.invalid[i], strict=True))
        if not invalid and (problem := _box_problem(box, *sizes[i].tolist()))
    ]


def _box_problem(box: FloatArray, width: float, height: float) -> str:
    x0, y0, x1, y1 = box.tolist()
    shown = f"the box {x0 + 0.5:g} {y0 + 0.5:g} {x1 - x0:g} {y1 - y0:g} (x y width height)"
    if not np.isfinite(box).all() or x1 <= x0 or y1 <= y0:
        return f"{shown} has no area"
    if x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
        return f"{shown} lies outside the image of {width:g} x {height:g} pixels"
    return ""


def sound_faces(data: LandmarkSet, *, skip: int = 0) -> LandmarkSet:
    """Return the faces whose labels can be right.

    Raises:
        DataError: more than ``skip`` labels cannot be right; the message names the first of them.
    """
    faults = landmark_faults(data)
    _check(data.name, faults, len(data), skip)
    wrong = {fault.index for fault in faults}
    return data.pick([i for i in range(len(data)) if i not in wrong]) if wrong else data


def sound_boxes(data: DetectionSet, *, skip: int = 0, share: float = 0.0) -> DetectionSet:
    """Return images with their boxes; those that cannot be right are marked as invalid and reported.

    Args:
        data: the images.
        skip: number of boxes that may be wrong.
        share: share of all boxes that may be wrong; WIDER FACE as published has some without an area.

    Raises:
        DataError: there is no image, or more boxes cannot be right; the message names the first of them.
    """
    if not len(data):
        raise DataError(f"{data.name}: the list names no image; expected at least one")
    faults, count = box_faults(data), sum(map(len, data.boxes))
    _check(data.name, faults, count, max(skip, int(share * count)))
    if not faults:
        return data
    invalid = [each.copy() for each in data.invalid]
    for fault in faults:
        invalid[fault.index][fault.box] = True
    return replace(data, invalid=tuple(invalid))


def _check(name: str, faults: Sequence[Fault], count: int, skip: int) -> None:
    if not faults:
        return
    if len(faults) > skip:
        raise DataError(
            f"{name}: {len(faults)} of {count:,} labels cannot be right: {_first(faults)}; 'nasion data check FOLDER' "
            f"lists them all; correct them, or leave them out with --skip-bad {len(faults)}"
        )
    _report_left_out(faults)


def _first(faults: Sequence[Fault]) -> str:
    """Return the first faults in words, and the number of the others."""
    shown = "; ".join(map(str, faults[:_SHOWN]))
    return shown + (f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else "")


def _report_left_out(faults: Sequence[Fault]) -> None:
    for fault in faults:
        log.warning("left out: %s", fault)


def unreadable(files: Sequence[Path]) -> Iterator[Fault]:
    """Yield the images that are missing or cannot be decoded completely; decodes all images."""
    with ImageReader() as reader:
        for i, file in enumerate(files):
            try:
                reader.read(file)
            except DataError as error:
                yield Fault(i, file, str(error).removeprefix(f"{file}: "))


def readable(files: Sequence[Path], *, skip: int = 0) -> list[int]:
    """Return the numbers of the images that can be decoded completely; those left out are reported.

    Images of held-out faces are checked with it, so that no validation in mid-run meets one. Frames of videos are not
    decoded.

    Raises:
        DataError: more than ``skip`` images cannot be decoded, or none can; the message names the first of them.
    """
    alone = [i for i, file in enumerate(files) if file.is_file()]
    faults = [replace(fault, index=alone[fault.index]) for fault in unreadable([files[i] for i in alone])]
    if len(faults) > skip or (faults and len(faults) == len(files)):
        raise DataError(
            f"{len(faults)} of {len(files):,} images cannot be read: {_first(faults)}; correct or remove them, or "
            f"leave them out with --skip-bad {len(faults)}"
        )
    _report_left_out(faults)
    wrong = {fault.index for fault in faults}
    return [i for i in range(len(files)) if i not in wrong]
