"""Landmarks as JSON Lines, CSV or Parquet: three forms of the same record."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ...engines.errors import MissingExtra, SinkError
from ..faces import Face, Frame
from .base import Sink, closed, writing
from .whole import WholeFile

Row = list[Any]

_ROW_GROUP = 1000  # rows of Parquet held in memory: some 10 MB at 68 points
_INDEX_ENTRY = 256  # bytes of Parquet's index, at the most, for a column, and for its part of each row group


def record(frame: Frame, faces: Sequence[Face]) -> dict[str, Any]:
    """What every format carries: seconds to the microsecond, pixels to 0.01, scores to 0.0001."""
    return {
        "frame": frame.index,
        "time": round(frame.time, 6),
        "faces": [
            {
                "id": face.id,
                "box": _rounded(face.box, 2),
                "score": round(float(face.score), 4),
                "points": _rounded(face.points, 2),
                "confidence": _rounded(face.confidence, 4),
            }
            for face in faces
        ],
    }


def _rounded(values: Any, decimals: int) -> Any:
    # Rounded as float64: a float32 of 0.1 would be printed with all its binary dust.
    return np.asarray(values, np.float64).round(decimals).tolist()


class JsonLinesSink(Sink):
    """One JSON object a frame and line, handed to the system at once.

    A killed process leaves whole lines, and so does a full disk.
    """

    def __init__(self, path: Path) -> None:
        """Write to ``path`` from the first frame on."""
        self._path = path
        self._file: WholeFile | None = None
        self._is_closed = False

    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Write one line."""
        if self._is_closed:
            raise closed(self._path)
        line = json.dumps(record(frame, faces), separators=(",", ":"), allow_nan=False) + "\n"
        with writing(self._path):
            if self._file is None:
                self._file = WholeFile(self._path)
            self._file.write(line.encode())

    def close(self) -> None:
        """Close the file."""
        self._is_closed = True
        if self._file is not None:
            with writing(self._path):
                self._file.close()


class _Table(Sink):
    """Rows of one width, a face each; a frame without faces is a row with frame and time alone.

    How many columns there are shows with the first face; the rows before it, which are short, wait in memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: WholeFile | None = None
        self._points: int | None = None
        self._waiting: list[Row] = []
        self._is_closed = False

    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Write one row per face, or one without a face."""
        if self._is_closed:
            raise closed(self._path)
        counts = {len(face.points) for face in faces}
        if self._points is None and counts:
            self._points = counts.pop()
        if counts - {self._points}:
            raise SinkError(
                f"{str(self._path)!r} has columns for {self._points} points, not {max(counts)}; "
                "write faces of several schemes to a .jsonl file"
            )
        self._waiting += _rows(record(frame, faces))
        if self._points is not None:
            with writing(self._path):
                self._put_all(self._points)

    def close(self) -> None:
        """Write what waits, and finish the file."""
        if self._is_closed:
            return
        self._is_closed = True
        with writing(self._path):
            try:
                if self._waiting:
                    self._put_all(self._points or 0)
            finally:
                self._finish()

    def _put_all(self, points: int) -> None:
        try:
            self._put(points)
        except (OSError, SinkError):
            self._waiting = []  # there is no room for them: closing must not try again
            raise

    def _padded(self, points: int) -> list[Row]:
        width = len(_columns(points))
        return [row + [None] * (width - len(row)) for row in self._waiting]

    def _put(self, points: int) -> None:
        """Take the rows waiting, or leave them for later."""
        raise NotImplementedError

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()


def _columns(points: int) -> list[str]:
    numbered = [f"{name}{i}" for name in ("x", "y", "confidence") for i in range(points)]
    return ["frame", "time", "id", "box_x0", "box_y0", "box_x1", "box_y1", "score", *numbered]


def _rows(frame: dict[str, Any]) -> list[Row]:
    start = [frame["frame"], frame["time"]]
    faces = [
        [
            *start,
            face["id"],
            *face["box"],
            face["score"],
            *(x for x, _ in face["points"]),
            *(y for _, y in face["points"]),
            *face["confidence"],
        ]
        for face in frame["faces"]
    ]
    return faces or [start]


class CsvSink(_Table):
    """Comma-separated values with a header; after each frame its rows are on disk: with a full disk all or none."""

    def _put(self, points: int) -> None:
        if self._file is None:
            self._file = WholeFile(self._path)
            self._file.write((",".join(_columns(points)) + "\n").encode())
        for _, rows in groupby(self._padded(points), key=lambda row: row[0]):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            self._file.write(text.getvalue().encode())
        self._waiting = []


class ParquetSink(_Table):
    """Parquet in the columns of the CSV. Closing writes the index, without which nothing can be read.

    So the room for the index is made sure of with each group of rows: a full disk costs the rows since the last.
    """

    def __init__(self, path: Path) -> None:
        """Write to ``path`` from the first frame on.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        super().__init__(path)
        try:
            arrow: Any = importlib.import_module("pyarrow")
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise MissingExtra("pyarrow", "parquet", "a .parquet file") from error
        self._arrow = arrow
        self._writer: Any = None
        self._groups = 0

    def _put(self, points: int) -> None:
        if self._file is None:
            self._open(points)
        if len(self._waiting) >= _ROW_GROUP or self._is_closed:
            columns = [list(column) for column in zip(*self._padded(points), strict=True)]
            self._put_group(self._arrow.table(columns, schema=self._schema))
            self._waiting = []

    def _open(self, points: int) -> None:
        whole = {"frame": self._arrow.int64(), "id": self._arrow.int32()}
        types = [(name, whole.get(name, self._arrow.float64())) for name in _columns(points)]
        self._schema = self._arrow.schema(types)
        self._file = WholeFile(self._path)
        self._file.reserve(self._room_for_index(0))
        self._writer = self._parquet.ParquetWriter(self._file, self._schema)

    def _put_group(self, table: Any) -> None:
        # Before it is written, as the writer lists a group that failed all the same. A column comes at the worst as
        # its values and, of ten bits or so, their numbers, packed in vain, with headers no longer than its entry.
        assert self._file is not None
        self._groups += 1
        self._file.reserve(3 * table.nbytes // 2 + self._room_for_index(self._groups + 1))
        with self._index_at_stake():
            self._writer.write_table(table)

    def _room_for_index(self, groups: int) -> int:
        return _INDEX_ENTRY * len(self._schema) * (groups + 1)

    def _finish(self) -> None:
        try:
            if self._writer is not None:
                with self._index_at_stake():
                    self._writer.close()
        finally:
            if self._writer is not None:
                self._writer.is_open = False  # where closing failed, it would try again when it is collected
            super()._finish()

    @contextmanager
    def _index_at_stake(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SinkError(
                f"cannot write {str(self._path)!r}: {error.strerror or error}; its index is missing, so that nothing "
                "in it can be read; give it more space, or write a .jsonl or .csv file"
            ) from error
