"""Readers of landmark files: JSON Lines, CSV and Parquet, in all format versions."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from ...engines.closing import Closing
from ...engines.errors import MissingExtra, SourceError
from ..faces.face import Face
from ..faces.measured import EyeOpening, Pose
from ..sinks.header import FORMAT, Header
from ..sinks.landmarks import METADATA_KEY, columns
from ..values.schemes import scheme_of
from .records import (
    DamageError,
    FaceRecord,
    FrameRecord,
    Record,
    json_object,
    number_of,
    parsed,
    record_of_json,
    record_of_row,
    text_of,
    whole_number,
)


class Reading(Closing):
    """Open landmark file; iterate over it once to get ``(frame, faces)`` of every frame.

    Attributes:
        path: path of the file.
        header: header of the file. Format 1 has none: its header contains only what the columns or the first frame
            show.
    """

    def __init__(self, path: Path) -> None:
        """Open a file and read its header.

        Raises:
            SourceError: the file is missing, is not a landmark file, or has a later format.
            MissingExtra: a .parquet file needs pyarrow, which is not installed.
        """
        if path.suffix.lower() not in _READERS:
            raise SourceError(f"{str(path)!r} has suffix {path.suffix!r}; allowed: {', '.join(_READERS)}")
        if not path.is_file():
            raise SourceError(f"{str(path)!r} is not a file; give one that nasion track --landmarks wrote")
        self.path: Path = path
        self._place = _Place(path)
        with self._place:
            self._records = _READERS[path.suffix.lower()](path, self._place)
            self.header: Header = next(self._records)
        if self.header.format > FORMAT:
            raise SourceError(
                f"{str(path)!r} has format {self.header.format}; this version reads up to {FORMAT}; update nasion"
            )

    def __iter__(self) -> Self:
        """Return the reader itself; each frame is returned once."""
        return self

    def __next__(self) -> tuple[FrameRecord, list[Face]]:
        """Return the next frame and its faces, possibly none.

        Raises:
            StopIteration: the file has ended.
            SourceError: the file is damaged; the message names the line, or the row of a .parquet file.
        """
        with self._place:
            frame, faces = next(self._records)
            if not frame.source:
                frame = replace(frame, source=self.header.source)
            return frame, [self._face(face) for face in faces]

    def _face(self, record: FaceRecord) -> Face:
        landmarks = record.landmarks
        usual = scheme_of(len(landmarks))
        of_file = self.header.scheme if len(landmarks) == self.header.landmarks else usual.name if usual else ""
        scheme = of_file if record.scheme is None else record.scheme
        return Face(
            record.id,
            record.box,
            record.score,
            landmarks,  # type: ignore[arg-type]  # Face converts any array to Landmarks
            record.confidence,
            record.visibility,
            scheme=scheme,
            interpolated=record.interpolated,
            **self._measures(record),
        )

    def _measures(self, record: FaceRecord) -> dict[str, Any]:
        """Return the measures of a face as fields of ``Face``."""
        found: dict[str, Any] = {}
        measured = record.measured
        if "pose" in measured:
            yaw, pitch, roll, x, y, z = measured["pose"]
            focal = self.header.focal_length or float(max(self.header.width, self.header.height)) or None
            found["pose"] = Pose(yaw, pitch, roll, (x, y, z), focal)
        if "eyes" in measured:
            found["eye_opening"] = EyeOpening(*measured["eyes"])
        if "mouth" in measured:
            (found["mouth_opening"],) = measured["mouth"]
        return found

    def close(self) -> None:
        """Close the file. Calling it again does nothing."""
        self._records.close()


def read(path: str | Path) -> Reading:
    """Open a landmark file: ``for frame, faces in nasion.read("faces.jsonl")``.

    Yields every frame in order, including frames without faces. In a file of ``nasion live`` the frames of all sources
    follow each other; ``frame.source`` and ``frame.connection`` tell them apart.

    Args:
        path: .jsonl, .csv or .parquet file that ``nasion track --landmarks`` or ``nasion live`` of any version wrote.

    Raises:
        SourceError: the file is missing, is not a landmark file, or has a later format. Damage in the middle is raised
            by the loop, after the last good frame; the message names the line, or the row of a .parquet file.
        MissingExtra: a .parquet file needs pyarrow, which is not installed.

    Examples:
        >>> import nasion
        >>> nasion.write("faces.csv", nasion.track("video.mp4", end=0.05))
        2
        >>> for frame, faces in nasion.read("faces.csv"):
        ...     print(frame.index, len(faces))
        0 1
        1 1
    """
    if not isinstance(path, str | Path):
        raise SourceError(f"read was given {path!r:.60} ({type(path).__name__}); give the path of a landmark file")
    return Reading(Path(path))


class _Place:
    """Place in a file. As a context manager it converts errors to ``SourceError``, whose message names the place.

    Attributes:
        now: what is being read, such as ``line 12``; empty for the file as a whole.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.now = path, ""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, StopIteration | SourceError | MissingExtra) or not isinstance(error, Exception):
            return
        damage = str(error) if isinstance(error, DamageError) else f"{type(error).__name__}: {error}"
        where = f", {self.now}" if self.now else ""
        raise SourceError(
            f"{str(self._path)!r}{where} cannot be read: {damage}; give a file that nasion track --landmarks wrote"
        ) from error


def _json_lines(path: Path, place: _Place) -> Iterator[Any]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            place.now = f"line {number}"
            values = json_object(parsed(line), "the line")
            if number == 1 and "frame" not in values:
                yield _header(values)
                continue
            record = record_of_json(values)
            if number == 1:
                yield _first_format(len(record[1][0].landmarks) if record[1] else 68)
            yield record
        if not place.now:
            yield Header()  # an empty file


def _header(values: Mapping[str, Any]) -> Header:
    for name in ("format", "landmarks"):
        whole_number(values.get(name, 1), f"{name} of the header")
    return Header.from_values(values)


def _csv(path: Path, place: _Place) -> Iterator[Any]:
    with path.open(encoding="utf-8", newline="") as file:
        about: dict[str, Any] = {}
        number, line = 1, file.readline()
        while line.startswith("#"):
            place.now = f"line {number}"
            name, _, value = line[1:].partition(":")
            about[name.strip()] = parsed(value)
            number, line = number + 1, file.readline()
        place.now = f"line {number}"
        names = next(csv.reader([line]), [])
        count = _count(names)
        yield _header(about) if about else _first_format(count)
        rows = csv.reader(file)
        yield from _grouped(
            ((f"line {number + rows.line_num}", dict(zip(names, row, strict=False)), len(row)) for row in rows),
            names,
            place,
        )


def _parquet(path: Path, place: _Place) -> Iterator[Any]:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", "a .parquet file") from error
    with parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        metadata: Mapping[bytes, bytes] = file.schema_arrow.metadata or {}
        about = metadata.get(METADATA_KEY.encode())
        count = _count(names)
        yield _header(json_object(parsed(about.decode()), "the header")) if about else _first_format(count)
        rows = (row for batch in file.iter_batches(batch_size=1000) for row in batch.to_pylist())
        numbered = ((f"row {number}", row, len(row)) for number, row in enumerate(rows, start=1))
        yield from _grouped(numbered, names, place)


def _first_format(count: int) -> Header:
    usual = scheme_of(count)
    return Header(scheme=usual.name if usual else "", landmarks=count, format=1)


def _count(names: Sequence[str]) -> int:
    """Return the number of landmarks in a table with these columns."""
    count = sum(name.startswith("confidence") for name in names)
    if missing := [name for name in columns(count) if name not in names]:
        raise DamageError(f"it has no column {missing[0]!r}")
    return count


def _grouped(
    rows: Iterator[tuple[str, Mapping[str, Any], int]], names: Sequence[str], place: _Place
) -> Iterator[Record]:
    """Group the rows of a table by frame. A damaged row is reported after the frames before it."""
    count = _count(names)
    present: Record | None = None
    for where, row, cells in rows:
        place.now = where
        try:
            index = whole_number(row.get("frame"), "frame")
        except DamageError:
            if present is not None:
                yield present
                place.now = where
            raise
        if present is None or present[0].index != index:
            if present is not None:
                yield present
                place.now = where
            time, file = number_of(row.get("time"), "time"), text_of(row.get("file"), "file")
            present = FrameRecord(index, time, file=file), []
        if cells != len(names):
            raise DamageError(f"it has {cells} cells, expected {len(names)}")
        if row["id"] not in (None, ""):
            present[1].append(record_of_row(row, count))
    if present is not None:
        yield present


_READERS: dict[str, Callable[[Path, _Place], Any]] = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
