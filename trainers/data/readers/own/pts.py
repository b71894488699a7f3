"""``.pts`` files of any number of points."""

from __future__ import annotations

from pathlib import Path

from .....realtime.values.arrays import FloatArray
from ...base import DataError
from .labels import coordinates


def read_any_pts(path: Path) -> FloatArray:
    """Read the landmarks (n, 2) of a ``.pts`` file of any number of points; 1-based in the file, 0-based here.

    Points at "nan nan" are not annotated.

    Raises:
        DataError: the file is malformed.
    """
    layout = "expected 'version: 1', 'n_points: N', '{', N lines 'x y', '}'"
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    try:
        first, last = lines.index("{") + 1, lines.index("}")
    except ValueError:
        raise DataError(f"{path}: has no {{ … }} block; {layout}") from None
    rows = []
    for number in range(first, last):
        try:
            x, y = (float(value) for value in lines[number].split())
        except ValueError:
            raise DataError(f"{path}, line {number + 1}: {lines[number]!r} is not two numbers; {layout}") from None
        rows.append((x, y))
    told = next((line.partition(":")[2].strip() for line in lines[:first] if line.startswith("n_points")), "")
    if not rows or (told and told != str(len(rows))):
        raise DataError(f"{path}: has {len(rows)} points, n_points is {told or 'missing'}; {layout}")
    return coordinates(rows) - 1
