"""Labelled faces of users: ``.pts`` files, COCO key points, CSV tables and landmark files of nasion, in any folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from .....realtime.values.arrays import FloatArray
from .....realtime.values.scheme import LandmarkScheme
from .....realtime.values.scheme_files import unnamed_scheme
from .....realtime.values.schemes import SCHEMES, scheme_of
from ...base import DataError, LandmarkSet, unknown_yaw
from .coco import coco_labels, is_coco
from .csv_tables import csv_labels
from .labels import Label, beside, text_of
from .landmark_files import is_of_nasion, nasion_labels
from .pts import read_any_pts

LABEL_SUFFIXES = (".pts", ".json", ".csv", ".jsonl", ".parquet")
GROUPS = ("image", "video", "folder")
EXPECTED = (
    "expected .pts files beside their images, a COCO .json with key points, a .csv with the columns image, x0, y0, "
    "x1, y1 …, or .jsonl, .csv or .parquet files of nasion track --landmarks"
)
_FRAMES = re.compile(r"[\s_.-]*(frame)?[\s_.-]*\d+$", re.IGNORECASE)


def is_own(path: Path, *, with_points: bool = False) -> bool:
    """Return True if a file or folder holds labels in one of the formats of this module.

    ``with_points`` asks for labelled landmarks: COCO files count only if they have key points.
    """
    if not with_points:
        return next(_label_files(path), None) is not None
    return any(
        bool(file.suffix.lower() != ".json" or re.search(r'"keypoints"\s*:\s*\[\s*[-\d]', text_of(file)))
        for file in _label_files(path)
    )


def read_own(
    path: Path,
    *,
    scheme: LandmarkScheme | None = None,
    group: str = "image",
    damaged: dict[Path, str] | None = None,
) -> LandmarkSet:
    """Read the labelled faces in a folder with all folders below, or in one file of labels.

    Args:
        path: folder or file.
        scheme: numbering scheme of the landmarks; None for the one that the files name, for the usual one with that
            many landmarks, or for one without mirror pairs.
        group: what keeps faces together in ``LandmarkSet.groups``: ``image`` (or the video of a frame), ``video`` (the
            same, and images whose names differ in their last number only), ``folder``, or a column of the labels, which
            goes first.
        damaged: takes the files that are malformed, with what is wrong; their labels before that are read. None to
            raise the error.

    Raises:
        DataError: nothing is found, a file is malformed, or the faces differ in the number of landmarks.
    """
    labels: list[Label] = []
    for file in _label_files(path):
        try:
            labels.extend(_labels_of(file))
        except DataError as error:
            if damaged is None:
                raise
            damaged[file] = re.sub(rf"^'?{re.escape(str(file))}'?[:,]? ", "", str(error))
    if not labels and damaged:
        raise DataError("; ".join(f"{file}: {problem}" for file, problem in islice(damaged.items(), 3)))
    if not labels:
        raise DataError(f"{path}: holds no labelled faces; {EXPECTED}")
    first = labels[0]
    count = scheme.count if scheme else len(first.points)
    for label in labels:
        if len(label.points) != count:
            wanted = f"scheme {scheme.name!r} has {count}" if scheme else f"{first.origin} has {count}"
            raise DataError(
                f"{label.origin} has {len(label.points)} landmarks, {wanted}; all faces need the same number"
            )
    visible = None
    if any(label.visible is not None for label in labels):
        visible = np.stack([_known(label.points) if label.visible is None else label.visible for label in labels])
    return LandmarkSet(
        path.resolve().name or str(path),
        tuple(label.image for label in labels),
        np.stack([label.points for label in labels]),
        unknown_yaw(len(labels)),
        visible=visible,
        numbering=scheme or _scheme_of_labels(labels, count),
        groups=tuple(_group(label, group) for label in labels),
    )


def _known(points: FloatArray) -> FloatArray:
    return np.where(np.isnan(points[:, 0]), np.nan, 1).astype(np.float32)


def _scheme_of_labels(labels: Sequence[Label], count: int) -> LandmarkScheme:
    named = {label.scheme for label in labels} - {""}
    if len(named) == 1 and (found := SCHEMES.get(named.pop())) and found.count == count:
        return found
    return scheme_of(count) or unnamed_scheme(count)


def _group(label: Label, group: str) -> str:
    """Return the name of the group of a face."""
    video = label.image.parent if not label.image.is_file() and label.image.parent.is_file() else None
    if group in label.about:
        return label.about[group]
    if group == "folder":
        return str((video or label.image).parent)
    if group in ("image", "video"):
        if video is not None:
            return str(video)
        stem = _FRAMES.sub("", label.image.stem) if group == "video" else label.image.stem
        return str(label.image.parent / stem)
    columns = f", {', '.join(label.about)}" if label.about else ""
    raise DataError(f"{label.origin}: has no column {group!r} for --group; allowed: {', '.join(GROUPS)}{columns}")


def _label_files(path: Path) -> Iterator[Path]:
    """Yield the files of labels in a folder, by name, or the file itself."""
    if path.is_file():
        if path.suffix.lower() not in LABEL_SUFFIXES:
            raise DataError(f"{path}: suffix {path.suffix!r}; {EXPECTED}")
        yield path
        return
    if not path.is_dir():
        raise DataError(f"{path}: is neither a folder nor a file; {EXPECTED}")
    for file in sorted(path.rglob("*")):
        suffix = file.suffix.lower()
        if suffix not in LABEL_SUFFIXES or file.name.startswith(".") or not file.is_file():
            continue
        if suffix == ".json" and not is_coco(file):
            continue
        yield file


def _labels_of(file: Path) -> Iterator[Label]:
    suffix = file.suffix.lower()
    if suffix == ".pts":
        if not file.stem.endswith("_mirror"):
            yield Label(beside(file), read_any_pts(file), None, {}, "", str(file))
    elif suffix == ".json":
        yield from coco_labels(file)
    elif suffix == ".csv" and not is_of_nasion(file):
        yield from csv_labels(file)
    else:
        yield from nasion_labels(file)
