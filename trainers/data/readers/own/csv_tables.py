"""CSV tables with one face a row."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...base import DataError
from .labels import Finder, Label, coordinates


def csv_labels(file: Path) -> Iterator[Label]:
    """Yield the faces of a table: image, x0, y0, x1, y1 …, optionally visible0 … (1 or 0), and further columns."""
    layout = "expected the columns image, x0, y0, x1, y1 …"
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        names = rows.fieldnames or []
        count = sum(bool(re.fullmatch(r"x\d+", name)) for name in names)
        wanted = ["image", *(f"{axis}{i}" for i in range(count) for axis in "xy")]
        if not count or (missing := [name for name in wanted if name not in names]):
            lacks = "image" if not count and "image" not in names else missing[0] if count else "x0"
            raise DataError(f"{file}: has no column {lacks!r}; {layout}")
        finder = Finder(file)
        seen = [f"visible{i}" for i in range(count)]
        further = [name for name in names if name not in (*wanted, *seen)]
        for row in rows:
            where = f"{file}, line {rows.line_num}"
            points = coordinates([[_number(row[f"{axis}{i}"], where) for axis in "xy"] for i in range(count)])
            visible = None
            if seen[0] in names:
                visible = np.array([_number(row.get(name), where) for name in seen], np.float32)
                visible = np.where(np.isnan(points[:, 0]), np.nan, visible > 0).astype(np.float32)
            about = {name: row[name] or "" for name in further}
            yield Label(finder.find(row["image"] or "", where), points, visible, about, "", where)


def _number(text: str | None, where: str) -> float:
    """Return a number of a table; NaN where it is empty."""
    if text is None or not text.strip():
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: {text!r} is not a number; leave a point that is not annotated empty") from None
