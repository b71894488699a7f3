"""Pictures for the detector: WIDER FACE, and pictures without a face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .base import DataError, DetectionSet, existing_folder


def read_wider(root: Path, *, test: bool = False) -> DetectionSet:
    """WIDER FACE in its own text format: name, count, then ``x y w h`` and six attributes a line.

    Raises:
        DataError: a picture is missing or a line malformed.
    """
    part = "test" if test else "train"
    table, folder = root / "wider" / f"{part}_bbx_gt.txt", root / "wider" / part
    if not table.is_file():
        raise DataError(f"{table}: missing; expected WIDER FACE's list of name, count and boxes")
    files, boxes, invalid = [], [], []
    for name, rows in _wider_entries(table):
        values = np.array(rows, np.float32).reshape(-1, 10)
        corners = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:4]], axis=1)
        files.append(folder / name)
        boxes.append(corners - np.float32(0.5))
        invalid.append(values[:, 7] > 0)
    return DetectionSet("wider", tuple(files), tuple(boxes), tuple(invalid))


def _wider_entries(table: Path) -> Iterator[tuple[str, list[list[float]]]]:
    lines = table.read_text().splitlines()
    at = 0
    while at < len(lines):
        name = lines[at].strip()
        try:
            count = int(lines[at + 1])
            rows = [[float(v) for v in lines[at + 2 + i].split()] for i in range(max(count, 1))]
        except (IndexError, ValueError):
            raise DataError(f"{table}, line {at + 1}: {name!r} is not followed by a count and its boxes") from None
        at += 2 + len(rows)
        wrong = next((i for i, row in enumerate(rows) if len(row) != 10), None)
        if wrong is not None:
            raise DataError(f"{table}, line {at - len(rows) + wrong + 1}: expected x y w h and six attributes")
        yield name, rows[:count]


def read_negatives(root: Path, *, test: bool = False) -> tuple[Path, ...]:
    """Pictures without a face."""
    folder = existing_folder(root / "negatives" / ("test" if test else "train"))
    files = tuple(sorted(folder.glob("*.jpg")))
    if not files:
        raise DataError(f"{folder}: holds no .jpg file; expected pictures without faces")
    return files
