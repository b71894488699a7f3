"""Landmarks as JSON Lines, CSV or Parquet: three forms of the same record, each with a header."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ...engines.errors import MissingExtra, SinkError
from ..faces import Face, Frame
from .base import Sink, closed, writing
from .header import AnyHeader, Header
from .whole import WholeFile

Row = list[Any]

METADATA_KEY = "nasion"
"""Key of the header in the metadata of a Parquet file."""
_ROW_GROUP = 1000  # rows of Parquet held in memory: some 10 MB at 68 landmarks
_INDEX_ENTRY = 256  # bytes of Parquet's index, at the most, for a column, and for its part of each row group


def record(frame: Frame, faces: Sequence[Face]) -> dict[str, Any]:
    """Return what every format carries: seconds to the microsecond, pixels to 0.01, scores to 0.0001."""
    return {
        "frame": frame.index,
        "time": round(frame.time, 6),
        "faces": [
            {
                "id": face.id,
                "box": _rounded(face.box, 2),
                "score": round(float(face.score), 4),
                "landmarks": _rounded(face.landmarks, 2),
                "confidence": _rounded(face.confidence, 4),
            }
            for face in faces
        ],
    }


def _rounded(values: Any, decimals: int) -> Any:
    # Rounded as float64: a float32 of 0.1 would be printed with all its binary dust.
    return np.asarray(values, np.float64).round(decimals).tolist()


class JsonLinesSink(Sink):
    """One JSON object a line, handed to the system at once: the header, then one for each frame.

    A killed process leaves whole lines, and so does a full disk.
    """

    def __init__(self, path: Path, header: AnyHeader | None = None) -> None:
        """Write to ``path`` from the first frame on."""
        self._path, self._header = path, header or Header()
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
                self._file.write((self._header().to_json() + "\n").encode())
            self._file.write(line.encode())

    def close(self) -> None:
        """Close the file."""
        self._is_closed = True
        if self._file is not None:
            with writing(self._path):
                self._file.close()


class _Table(Sink):
    """Rows of one width, a face each; a frame without faces is a row with frame and time alone."""

    def __init__(self, path: Path, header: AnyHeader | None = None) -> None:
        self._path, self._header = path, header or Header()
        self._file: WholeFile | None = None
        self._waiting: list[Row] = []
        self._is_closed = False

    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Write one row per face, or one without a face."""
        if self._is_closed:
            raise closed(self._path)
        landmarks = self._header().landmarks
        for face in faces:
            if len(face.landmarks) != landmarks:
                raise SinkError(
                    f"{str(self._path)!r} has columns for {landmarks} landmarks, not "
                    f"{len(face.landmarks)}; write faces of several schemes to a .jsonl file"
                )
        width = len(columns(landmarks))
        self._waiting += [row + [None] * (width - len(row)) for row in _rows(record(frame, faces))]
        with writing(self._path):
            self._put_all()

    def close(self) -> None:
        """Write what waits, and finish the file."""
        if self._is_closed:
            return
        self._is_closed = True
        with writing(self._path):
            try:
                if self._waiting:
                    self._put_all()
            finally:
                self._finish()

    def _put_all(self) -> None:
        try:
            self._put()
        except (OSError, SinkError):
            self._waiting = []  # there is no room for them: closing must not try again
            raise

    def _put(self) -> None:
        """Write the waiting rows, or leave them for later."""
        raise NotImplementedError

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()


@cache
def columns(landmarks: int) -> list[str]:
    """Return the columns of a table of faces with so many landmarks."""
    numbered = [f"{name}{i}" for name in ("x", "y", "confidence") for i in range(landmarks)]
    return ["frame", "time", "id", "box_x0", "box_y0", "box_x1", "box_y1", "score", *numbered]


def _rows(frame: dict[str, Any]) -> list[Row]:
    start = [frame["frame"], frame["time"]]
    faces = [
        [
            *start,
            face["id"],
            *face["box"],
            face["score"],
            *(x for x, _ in face["landmarks"]),
            *(y for _, y in face["landmarks"]),
            *face["confidence"],
        ]
        for face in frame["faces"]
    ]
    return faces or [start]


class CsvSink(_Table):
    """Comma-separated values: ``#`` lines with the header, the names of the columns, then the rows.

    After each frame its rows are on disk: with a full disk all or none.
    """

    def _put(self) -> None:
        if self._file is None:
            self._file = WholeFile(self._path)
            values = self._header().values().items()
            about = "".join(f"# {name}: {json.dumps(value, default=dict)}\n" for name, value in values)
            self._file.write((about + ",".join(columns(self._header().landmarks)) + "\n").encode())
        for _, rows in groupby(self._waiting, key=lambda row: row[0]):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            self._file.write(text.getvalue().encode())
        self._waiting = []


class ParquetSink(_Table):
    """Parquet in the columns of the CSV, the header in its metadata. Closing writes the index.

    Without the index nothing can be read. So the room for it is made sure of with each group of rows: a full disk
    costs the rows since the last.
    """

    def __init__(self, path: Path, header: AnyHeader | None = None) -> None:
        """Write to ``path`` from the first frame on.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        super().__init__(path, header)
        try:
            arrow: Any = importlib.import_module("pyarrow")
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise MissingExtra("pyarrow", "parquet", "a .parquet file") from error
        self._arrow = arrow
        self._writer: Any = None
        self._groups = 0

    def _put(self) -> None:
        if self._file is None:
            self._open()
        if len(self._waiting) >= _ROW_GROUP or self._is_closed:
            values = [list(column) for column in zip(*self._waiting, strict=True)]
            self._put_group(self._arrow.table(values, schema=self._schema))
            self._waiting = []

    def _open(self) -> None:
        whole = {"frame": self._arrow.int64(), "time": self._arrow.float64(), "id": self._arrow.int32()}
        types = [(name, whole.get(name, self._arrow.float32())) for name in columns(self._header().landmarks)]
        self._schema = self._arrow.schema(types, metadata={METADATA_KEY: self._header().to_json()})
        self._file = WholeFile(self._path)
        self._file.reserve(self._room_for_index(0))
        self._writer = self._parquet.ParquetWriter(self._file, self._schema)

    def _put_group(self, table: Any) -> None:
        # Before it is written, as the writer lists a group that failed all the same. A column comes at the worst as
        # its values and, of ten bits or so, their numbers, packed in vain, with headers no longer than its entry.
        assert self._file is not None
        self._groups += 1
        self._file.reserve(2 * table.nbytes + self._room_for_index(self._groups + 1))
        with self._index_at_stake():
            self._writer.write_table(table)

    def _room_for_index(self, groups: int) -> int:
        return 2 * len(self._header().to_json()) + _INDEX_ENTRY * len(self._schema) * (groups + 1)

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
