"""WFLW: a list with 98 landmarks, a bounding box and six attributes of each face."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..base import DataError, LandmarkSet, Layout, Part, existing_image, read_lines, unknown_yaw

_LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test"
WFLW = Layout(
    "wflw",
    ("wflw",),
    {part: (f"{_LISTS}/list_98pt_rect_attr_{part}.txt",) for part in ("train", "test")},
    f"WFLW_images and {_LISTS}/list_98pt_rect_attr_train.txt and …_test.txt",
)
ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
_LINE = "196 coordinates, 4 of the box, 6 attributes of 0 or 1, then the image's path in WFLW_images"


def read_wflw(root: Path, *, test: bool = False) -> LandmarkSet:
    """Read WFLW, with its own boxes and a subset for each attribute.

    Raises:
        DataError: a file is missing or a line malformed.
    """
    part: Part = "test" if test else "train"
    home = WFLW.home(root, part)
    table = home / _LISTS / f"list_98pt_rect_attr_{part}.txt"
    lines = [(i, line.split(maxsplit=206)) for i, line in enumerate(read_lines(table), 1) if line.strip()]
    if not lines:
        raise DataError(f"{table}: is empty; expected lines of {_LINE}")
    values = np.array([_numbers(table, number, fields) for number, fields in lines], np.float32)
    files = tuple(
        existing_image(home / "WFLW_images" / fields[206].strip(), named_by=f"{table}, line {number},")
        for number, fields in lines
    )
    return LandmarkSet(
        "wflw",
        files,
        values[:, :196].reshape(-1, 98, 2),
        unknown_yaw(len(files)),
        boxes=values[:, 196:200],
        subsets={name: values[:, 200 + i] > 0 for i, name in enumerate(ATTRIBUTES)},
    )


def _numbers(table: Path, number: int, fields: list[str]) -> list[float]:
    if len(fields) != 207:
        raise DataError(f"{table}, line {number}: has {len(fields)} fields; expected {_LINE}")
    try:
        values = [float(field) for field in fields[:206]]
    except ValueError as error:
        raise DataError(f"{table}, line {number}: {error}; expected {_LINE}") from None
    endless = [field for field, value in zip(fields, values, strict=False) if not math.isfinite(value)]
    if endless:
        raise DataError(f"{table}, line {number}: {endless[0]!r} is not a finite number; expected {_LINE}")
    if not set(values[200:]) <= {0.0, 1.0}:
        raise DataError(f"{table}, line {number}: an attribute is neither 0 nor 1; expected {_LINE}")
    return values
