"""AFLW with several annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .base import DataError, LandmarkSet, existing_folder


def read_aflw68(root: Path, *, test: bool = False) -> LandmarkSet:
    """AFLW with MERL-RAV points: a folder of pictures and an ``.npz`` of name, yaw and points beside it."""
    part = "test" if test else "train"
    folder, table = root / "aflw68" / part, root / "aflw68" / f"{part}.npz"
    if not table.is_file():
        raise DataError(f"{table}: missing; expected arrays name (n,), yaw (n,), points (n,68,2)")
    with np.load(table) as arrays:
        names, yaw, points = arrays["name"], arrays["yaw"], arrays["points"]
    files = tuple(existing_folder(folder) / f"{name}.jpg" for name in names)
    return LandmarkSet("aflw68", files, points.astype(np.float32), yaw.astype(np.float32))
