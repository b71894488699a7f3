"""Sets in the layout of iBUG: a ``.pts`` file beside each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...realtime.faces import FloatArray
from .base import DataError, LandmarkSet, existing_folder, unknown_yaw


def read_pts(path: Path, *, count: int = 68) -> FloatArray:
    """Points (count, 2), 0-based, of an iBUG ``.pts`` file, whose points are 1-based.

    Raises:
        DataError: the file is missing, malformed or has another number of points.
    """
    layout = f"expected 'version: 1', 'n_points: {count}', '{{', {count} lines 'x y', '}}'"
    if not path.is_file():
        raise DataError(f"{path}: annotation is missing; {layout}")
    lines = path.read_text(errors="replace").splitlines()
    try:
        first, last = next(i for i, line in enumerate(lines) if line.strip() == "{"), lines.index("}")
    except (StopIteration, ValueError):
        raise DataError(f"{path}: has no {{ … }} block; {layout}") from None
    rows = [_pair(path, number + 1, lines[number], layout) for number in range(first + 1, last)]
    if len(rows) != count:
        raise DataError(f"{path}: has {len(rows)} points; {layout}")
    return np.array(rows, np.float32) - 1


def _pair(path: Path, number: int, line: str, layout: str) -> tuple[float, float]:
    try:
        x, y = (float(value) for value in line.split())
    except ValueError:
        raise DataError(f"{path}, line {number}: {line.strip()!r} is not two numbers; {layout}") from None
    return x, y


def read_pts_folders(name: str, folders: Sequence[Path]) -> LandmarkSet:
    """All pictures with a ``.pts`` beside them in ``folders`` (the layout of 300W and of the YouTube-Faces set).

    Raises:
        DataError: a folder is missing or empty, or a file is malformed.
    """
    files: list[Path] = []
    for folder in folders:
        found = sorted(existing_folder(folder).glob("*.pts"))
        if not found:
            raise DataError(f"{folder}: holds no .pts file; expected NAME.pts beside NAME.jpg or NAME.png")
        files += found
    points = np.stack([read_pts(file) for file in files])
    return LandmarkSet(name, tuple(_picture_beside(file) for file in files), points, unknown_yaw(len(files)))


def _picture_beside(pts: Path) -> Path:
    for suffix in (".jpg", ".png"):
        if pts.with_suffix(suffix).is_file():
            return pts.with_suffix(suffix)
    raise DataError(f"{pts}: no picture of that name beside it; expected {pts.stem}.jpg or {pts.stem}.png")


def read_300w(root: Path, *, test: bool = False) -> LandmarkSet:
    """300W: ``helen/trainset``, ``lfpw/trainset`` and ``afw``, or for ``test`` ``helen/testset``."""
    parts = ["helen/testset"] if test else ["helen/trainset", "lfpw/trainset", "afw"]
    return read_pts_folders("300w", [root / "300w" / part for part in parts])


def read_ytf68(root: Path, *, test: bool = False) -> LandmarkSet:
    """YouTube Faces with 68 points: ``training`` or ``test``."""
    return read_pts_folders("ytf68", [root / "ytf68" / ("test" if test else "training")])
