"""Bounding boxes of faces of users: lists in WIDER's format, COCO, or boxes from landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .....realtime.values.arrays import FloatArray
from ...base import DataError, DetectionSet
from ..wider import read_list
from .coco import coco_boxes, is_coco
from .faces import is_own, read_own
from .labels import IMAGE_SUFFIXES


def has_own_boxes(path: Path) -> bool:
    """Return True if a file or folder holds a list in WIDER's format, or COCO."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return any(
        (file.suffix.lower() == ".txt" and _is_list(file)) or (file.suffix.lower() == ".json" and is_coco(file))
        for file in files
        if file.is_file()
    )


def read_own_boxes(path: Path, *, forehead: float) -> DetectionSet:
    """Read images with bounding boxes of their faces: lists in WIDER's format, COCO, or boxes from landmark files.

    Args:
        path: folder, searched with all folders below, or file: a list ``.txt`` or a file of labels.
        forehead: height that is added above the landmarks, up to the hair line, over their height.

    Raises:
        DataError: nothing is found, or a file is malformed.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    boxes: dict[Path, list[FloatArray]] = {}
    invalid: dict[Path, list[bool]] = {}
    for file in files:
        suffix = file.suffix.lower()
        if suffix == ".txt" and _is_list(file):
            found = read_list(file)
        elif suffix == ".json" and is_coco(file):
            found = coco_boxes(file)
        else:
            continue
        for image, of_image, wrong in zip(found.files, found.boxes, found.invalid, strict=True):
            boxes.setdefault(image, []).extend(of_image)
            invalid.setdefault(image, []).extend(wrong.tolist())
    if not boxes and (path.is_file() or is_own(path)):
        faces = read_own(path)
        for image, points in zip(faces.files, faces.points, strict=True):
            low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
            low[1] -= forehead * (high[1] - low[1])
            boxes.setdefault(image, []).append(np.concatenate([low, high]).astype(np.float32))
            invalid.setdefault(image, []).append(False)
    if not boxes:
        raise DataError(
            f"{path}: holds no bounding boxes; expected a list in WIDER's format (.txt), COCO, or landmarks"
        )
    return DetectionSet(
        path.resolve().name,
        tuple(boxes),
        tuple(np.array(each, np.float32).reshape(-1, 4) for each in boxes.values()),
        tuple(np.array(each, bool) for each in invalid.values()),
    )


def _is_list(file: Path) -> bool:
    """Return True if a text file begins like a list in WIDER's format: the name of an image, then a number."""
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        name, count = stream.readline().strip(), stream.readline().strip()
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and count.isdigit()
