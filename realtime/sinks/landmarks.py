"""Landmark files: JSON Lines, CSV and Parquet, all with the same records and header."""

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
from typing import Any, TextIO

from ...engines.errors import MissingExtra, SinkError
from ..faces.face import Face
from ..faces.frame import Frame
from ..values.published_schemes import IBUG_68
from .base import STREAM, Sink, closed, writing
from .header import AnyHeader, Header
from .whole import WholeFile

Row = list[Any]

METADATA_KEY = "nasion"
"""Key of the header in the metadata of a Parquet file."""
_ROWS = 1000  # rows that are converted to Arrow together, by default a row group: about 10 MB at 68 landmarks
_INDEX_ENTRY = 256  # maximum bytes in Parquet's index for a column, and for the column's chunk in each row group


def pyarrow() -> tuple[Any, Any]:
    """Return the modules ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", "a .parquet file") from error


def record(frame: Frame, faces: Sequence[Face], scheme: str = IBUG_68.name) -> dict[str, Any]:
    """Return the record of a frame for all formats: seconds rounded to 1 µs, pixels to 0.01, scores to 0.0001.

    A face of another landmark scheme than ``scheme``, that of the header, has its name as ``scheme``. A frame that is
    an image file has its name as ``file``.
    """
    file = getattr(frame, "file", "")
    return {
        "frame": frame.index,
        "time": round(frame.time, 6),
        **({"file": file} if file else {}),
        "faces": [
            face.to_dict() | ({"scheme": face.scheme_name} if _has_other(face, scheme) else {}) for face in faces
        ],
    }


def _has_other(face: Face, scheme: str) -> bool:
    """Return True if the landmark scheme of a face is known and another one."""
    return face.scheme_name not in ("", scheme)


class JsonLinesSink(Sink):
    """JSON Lines file: one JSON object per line, first the header, then one for each frame.

    Each line is written unbuffered and completely, so a killed process or a full disk leaves only complete lines.
    """

    def __init__(self, path: Path, header: AnyHeader | None = None) -> None:
        """Prepare to write to ``path``, which is opened at the first frame."""
        self._path, self._header = path, header or Header()
        self._file: WholeFile | None = None
        self._is_closed = False

    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Write the frame as one line."""
        if self._is_closed:
            raise closed(self._path)
        with writing(self._path):
            if self._file is None:
                self._file = WholeFile(self._path)
                self._file.write((self._header().to_json() + "\n").encode())
            self._file.write(_line(frame, faces, self._header()).encode())

    def close(self) -> None:
        """Close the file."""
        self._is_closed = True
        if self._file is not None:
            with writing(self._path):
                self._file.close()


class StreamSink(Sink):
    """JSON Lines on a stream such as standard output, one line per frame as in a file. The stream stays open."""

    def __init__(self, stream: TextIO, header: AnyHeader | None = None) -> None:
        """Write to ``stream`` from the first frame on."""
        self._stream, self._header = stream, header or Header()
        self._is_begun = self._is_closed = False

    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Write the frame as one line, at once.

        Raises:
            OSError: the stream cannot be written, for example because its reader is gone.
        """
        if self._is_closed:
            raise closed(STREAM)
        if not self._is_begun:
            self._is_begun = True
            self._stream.write(self._header().to_json() + "\n")
        self._stream.write(_line(frame, faces, self._header()))
        self._stream.flush()

    def close(self) -> None:
        """End the output; the stream belongs to the caller."""
        self._is_closed = True


def _line(frame: Frame, faces: Sequence[Face], header: Header) -> str:
    return json.dumps(record(frame, faces, header.scheme), separators=(",", ":"), allow_nan=False) + "\n"


def _scheme(landmarks: int, scheme: str) -> str:
    return f"{landmarks} landmarks" + (f" of the scheme {scheme}" if scheme else "")


class _Table(Sink):
    """Table with one row per face; a frame without faces is a row with only frame and time."""

    def __init__(self, path: Path, header: AnyHeader | None = None) -> None:
        self._path, self._header = path, header or Header()
        self._file: WholeFile | None = None
        self._waiting: list[Row] = []
        self._is_closed = False

    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Write one row per face, or one row without a face."""
        if self._is_closed:
            raise closed(self._path)
        header = self._header()
        for face in faces:
            if len(face.landmarks) != header.landmarks or _has_other(face, header.scheme):
                raise SinkError(
                    f"{str(self._path)!r} has columns for {_scheme(header.landmarks, header.scheme)}, not "
                    f"{_scheme(len(face.landmarks), face.scheme_name)}; write faces of several schemes to a .jsonl "
                    "file"
                )
        width = len(columns_of(header))
        self._waiting += [
            row + [None] * (width - len(row)) for row in _rows(record(frame, faces, header.scheme), header)
        ]
        with writing(self._path):
            self._put_all()

    def close(self) -> None:
        """Write the remaining rows and finish the file."""
        if self._is_closed:
            return
        self._is_closed = True
        with writing(self._path):
            try:
                if self._has_more():
                    self._put_all()
            finally:
                self._finish()

    def _has_more(self) -> bool:
        """Return True if rows wait to be written."""
        return bool(self._waiting)

    def _put_all(self) -> None:
        try:
            self._put()
        except (OSError, SinkError):
            self._waiting = []  # there is no space for them; close() must not try again
            raise

    def _put(self) -> None:
        """Write the waiting rows, or keep them until there are more."""
        raise NotImplementedError

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()


MEASURED = {
    "pose": ("yaw", "pitch", "roll", "head_x", "head_y", "head_z"),
    "eyes": ("eye_left", "eye_right"),
    "mouth": ("mouth",),
}
"""Columns of each measure; keys of the same names in JSON Lines."""


def columns_of(header: Header) -> list[str]:
    """Return the column names of a table."""
    further = tuple(name for name, wanted in (("interpolated", header.interpolated), ("file", header.files)) if wanted)
    return columns(header.landmarks, header.visibility, header.measures, further)


@cache
def columns(
    landmarks: int, visibility: bool = False, measures: tuple[str, ...] = (), further: tuple[str, ...] = ()
) -> list[str]:
    """Return the column names of a table of faces with this number of landmarks, and with these measures.

    ``further`` columns are ``interpolated``, 0 or 1, and ``file``.
    """
    names = ("x", "y", "confidence", *(("visibility",) if visibility else ()))
    numbered = [f"{name}{i}" for name in names for i in range(landmarks)]
    measured = [column for measure in measures for column in MEASURED[measure]]
    return ["frame", "time", "id", "box_x0", "box_y0", "box_x1", "box_y1", "score", *numbered, *measured, *further]


def _rows(frame: dict[str, Any], header: Header) -> list[Row]:
    measured = [column for measure in header.measures for column in MEASURED[measure]]
    unknown = [None] * header.landmarks if header.visibility else []
    start = [frame["frame"], frame["time"]]
    file = [frame.get("file")] if header.files else []
    faces = [
        [
            *start,
            face["id"],
            *face["box"],
            face["score"],
            *(x for x, _ in face["landmarks"]),
            *(y for _, y in face["landmarks"]),
            *face["confidence"],
            *(face.get("visibility", unknown) if header.visibility else ()),
            *(face.get(column) for column in measured),
            *([int(face.get("interpolated", False))] if header.interpolated else ()),
            *file,
        ]
        for face in frame["faces"]
    ]
    if faces or not file:
        return faces or [start]
    return [[*start, *[None] * (len(columns_of(header)) - len(start) - 1), *file]]


class CsvSink(_Table):
    """CSV file: the header in ``#`` lines, the column names, then the rows.

    The rows of a frame are written immediately; on a full disk, all of them or none.
    """

    def _put(self) -> None:
        if self._file is None:
            self._file = WholeFile(self._path)
            values = self._header().values().items()
            about = "".join(f"# {name}: {json.dumps(value, default=dict)}\n" for name, value in values)
            self._file.write((about + ",".join(columns_of(self._header())) + "\n").encode())
        for _, rows in groupby(self._waiting, key=lambda row: row[0]):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            self._file.write(text.getvalue().encode())
        self._waiting = []


class ParquetSink(_Table):
    """Parquet file with the columns of the CSV file and the header in its metadata. ``close`` writes the index.

    Without the index the file cannot be read, so space for it is reserved with each row group. A full disk loses only
    the rows since the last row group.
    """

    def __init__(self, path: Path, header: AnyHeader | None = None, *, row_group: int = 0) -> None:
        """Prepare to write to ``path``, which is opened at the first frame.

        Args:
            path: the file.
            header: header of the file; by default an empty one.
            row_group: least number of rows of a row group; 0 for the usual one.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        super().__init__(path, header)
        self._arrow, self._parquet = pyarrow()
        self._row_group = row_group or _ROWS
        self._tables: list[Any] = []
        self._writer: Any = None
        self._groups = 0

    def _put(self) -> None:
        if self._file is None:
            self._open()
        if len(self._waiting) >= _ROWS or (self._waiting and self._is_closed):
            values = [list(column) for column in zip(*self._waiting, strict=True)]
            self._tables.append(self._arrow.table(values, schema=self._schema))
            self._waiting = []
        if self._tables and (self._is_closed or sum(table.num_rows for table in self._tables) >= self._row_group):
            group, self._tables = self._arrow.concat_tables(self._tables), []
            self._put_group(group)

    def _has_more(self) -> bool:
        return bool(self._waiting or self._tables)

    def _open(self) -> None:
        whole = {"frame": self._arrow.int64(), "time": self._arrow.float64(), "id": self._arrow.int32()}
        whole |= {"interpolated": self._arrow.int8(), "file": self._arrow.string()}
        types = [
            (name, self._arrow.int8() if name.startswith("visibility") else whole.get(name, self._arrow.float32()))
            for name in columns_of(self._header())
        ]
        self._schema = self._arrow.schema(types, metadata={METADATA_KEY: self._header().to_json()})
        self._file = WholeFile(self._path)
        self._file.reserve(self._room_for_index(0))
        self._writer = self._parquet.ParquetWriter(self._file, self._schema)

    def _put_group(self, table: Any) -> None:
        # Reserve before writing, because the writer also lists a row group that failed. At worst a column is stored as
        # its values plus dictionary indices of about ten bits, neither compressed, with headers no longer than its
        # index entry.
        assert self._file is not None
        self._groups += 1
        self._file.reserve(2 * table.nbytes + self._room_for_index(self._groups + 1))
        with self._index_at_stake():
            self._writer.write_table(table, row_group_size=len(table))

    def _room_for_index(self, groups: int) -> int:
        return 2 * len(self._header().to_json()) + _INDEX_ENTRY * len(self._schema) * (groups + 1)

    def _finish(self) -> None:
        try:
            if self._writer is not None:
                with self._index_at_stake():
                    self._writer.close()
        finally:
            if self._writer is not None:
                self._writer.is_open = False  # if closing failed, the garbage collector would try again
            super()._finish()

    @contextmanager
    def _index_at_stake(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SinkError(
                f"cannot write {str(self._path)!r}: {error.strerror or error}; its index is missing, so the file "
                "cannot be read; free some space, or write a .jsonl or .csv file"
            ) from error
