"""Readers of landmark files: JSON Lines, CSV and Parquet, in all format versions."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ...engines.closing import Closing
from ...engines.errors import MissingExtra, SourceError
from ..faces.face import OCCLUDED, SELF_OCCLUDED, VISIBLE, Face
from ..faces.measured import EyeOpening, Pose
from ..sinks.header import FORMAT, Header
from ..sinks.landmarks import MEASURED, METADATA_KEY, columns
from ..values.arrays import FloatArray
from ..values.numeric import finite
from ..values.schemes import scheme_of


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """Frame of a landmark file, without its image.

    Attributes:
        index: number of the frame within the source, from 0.
        time: time in seconds of the source.
        source: name of the source, as in ``Frame.source``, or its name in ``nasion live``; empty if the file does not
            contain it.
        file: name of the image file of the frame; empty for a frame of a video.
        connection: number of the connection in a file of ``nasion live``, from 1: numbers, times and identities are
            those of one connection of one source. 0 in other files.
    """

    index: int
    time: float
    source: str = ""
    file: str = ""
    connection: int = 0


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

    def _face(self, record: _FaceRecord) -> Face:
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

    def _measures(self, record: _FaceRecord) -> dict[str, Any]:
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


class _DamageError(Exception):
    """Damage of a landmark file, in words."""


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
        damage = str(error) if isinstance(error, _DamageError) else f"{type(error).__name__}: {error}"
        where = f", {self.now}" if self.now else ""
        raise SourceError(
            f"{str(self._path)!r}{where} cannot be read: {damage}; give a file that nasion track --landmarks wrote"
        ) from error


class _FaceRecord(NamedTuple):
    """Checked values of a face."""

    id: int
    box: FloatArray
    score: float
    landmarks: FloatArray
    confidence: FloatArray
    visibility: NDArray[np.uint8] | None
    measured: Mapping[str, list[float]]
    scheme: str | None
    interpolated: bool


_Record = tuple[FrameRecord, list[_FaceRecord]]
"""A frame and its faces."""


def _json_lines(path: Path, place: _Place) -> Iterator[Any]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            place.now = f"line {number}"
            values = _object(_parsed(line), "the line")
            if number == 1 and "frame" not in values:
                yield _header(values)
                continue
            record = _record(values)
            if number == 1:
                yield _first_format(len(record[1][0].landmarks) if record[1] else 68)
            yield record
        if not place.now:
            yield Header()  # an empty file


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _DamageError(f"it is not JSON ({error.msg} at column {error.colno})") from error


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _DamageError(f"{name} is {value!r:.60}, expected a JSON object")
    return value


def _header(values: Mapping[str, Any]) -> Header:
    for name in ("format", "landmarks"):
        _whole(values.get(name, 1), f"{name} of the header")
    return Header.from_values(values)


def _record(values: Mapping[str, Any]) -> _Record:
    """Check a line of JSON Lines, of any format."""
    faces = values.get("faces")
    if not isinstance(faces, list):
        raise _DamageError(f"faces is {faces!r:.60}, expected a list")
    found = []
    for face in (_object(face, "a face") for face in faces):
        landmarks = face.get("landmarks", face.get("points"))  # ``points`` in format 1
        found.append(
            _face_record(face.get("id"), face.get("box"), face.get("score"), landmarks, face.get("confidence"), face)
        )
    frame = FrameRecord(
        _whole(values.get("frame"), "frame"),
        _number(values.get("time"), "time"),
        _text(values.get("source"), "source"),
        _text(values.get("file"), "file"),
        _whole(values.get("connection", 0), "connection"),
    )
    return frame, found


def _text(value: Any, name: str) -> str:
    if value is not None and not isinstance(value, str):
        raise _DamageError(f"{name} is {value!r:.60}, expected a text")
    return value or ""


def _csv(path: Path, place: _Place) -> Iterator[Any]:
    with path.open(encoding="utf-8", newline="") as file:
        about: dict[str, Any] = {}
        number, line = 1, file.readline()
        while line.startswith("#"):
            place.now = f"line {number}"
            name, _, value = line[1:].partition(":")
            about[name.strip()] = _parsed(value)
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
        yield _header(_object(_parsed(about.decode()), "the header")) if about else _first_format(count)
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
        raise _DamageError(f"it has no column {missing[0]!r}")
    return count


def _grouped(
    rows: Iterator[tuple[str, Mapping[str, Any], int]], names: Sequence[str], place: _Place
) -> Iterator[_Record]:
    """Group the rows of a table by frame. A damaged row is reported after the frames before it."""
    count = _count(names)
    present: _Record | None = None
    for where, row, cells in rows:
        place.now = where
        try:
            index = _whole(row.get("frame"), "frame")
        except _DamageError:
            if present is not None:
                yield present
                place.now = where
            raise
        if present is None or present[0].index != index:
            if present is not None:
                yield present
                place.now = where
            time, file = _number(row.get("time"), "time"), _text(row.get("file"), "file")
            present = FrameRecord(index, time, file=file), []
        if cells != len(names):
            raise _DamageError(f"it has {cells} cells, expected {len(names)}")
        if row["id"] not in (None, ""):
            present[1].append(_row_record(row, count))
    if present is not None:
        yield present


def _row_record(row: Mapping[str, Any], count: int) -> _FaceRecord:
    measured = {name: row.get(name) for names in MEASURED.values() for name in names}
    measured["interpolated"] = row.get("interpolated")
    seen = [row.get(f"visibility{i}") for i in range(count)]
    return _face_record(
        row["id"],
        [row[f"box_{name}"] for name in ("x0", "y0", "x1", "y1")],
        row["score"],
        [[row[f"x{i}"], row[f"y{i}"]] for i in range(count)],
        [row[f"confidence{i}"] for i in range(count)],
        measured if all(each in (None, "") for each in seen) else {**measured, "visibility": seen},
    )


def _face_record(
    number: Any, box: Any, score: Any, landmarks: Any, confidence: Any, optional: Mapping[str, Any]
) -> _FaceRecord:
    """Check the values of a face; ``optional`` may have its visibility and what was measured."""
    index = _whole(number, "id of a face")
    of_face = f"of face {index}"
    points = _numbers(landmarks, f"landmarks {of_face}", (-1, 2), "pairs x, y")
    return _FaceRecord(
        index,
        _numbers(box, f"box {of_face}", (4,), "4 numbers x0, y0, x1, y1"),
        _number(score, f"score {of_face}"),
        points,
        _numbers(confidence, f"confidence {of_face}", (len(points),), f"{len(points)} numbers, one for each landmark"),
        None if optional.get("visibility") is None else _visibility(optional["visibility"], of_face, len(points)),
        {
            measure: [_number(optional[name], f"{name} {of_face}") for name in names]
            for measure, names in MEASURED.items()
            if all(optional.get(name) not in (None, "") for name in names)
        },
        None if optional.get("scheme") is None else str(optional["scheme"]),
        optional.get("interpolated") in (True, 1, "1"),
    )


def _visibility(values: Any, of_face: str, count: int) -> NDArray[np.uint8]:
    array = _numbers(values, f"visibility {of_face}", (count,), f"{count} of 0, 1 and 2, one for each landmark")
    if not np.isin(array, (SELF_OCCLUDED, OCCLUDED, VISIBLE)).all():
        raise _DamageError(f"visibility {of_face} is {values!r:.60}, expected numbers of 0, 1 and 2")
    return array.astype(np.uint8)


def _numbers(values: Any, name: str, shape: tuple[int, ...], expected: str) -> FloatArray:
    """Convert to a float32 array of ``shape``, in which -1 stands for any length."""
    array: FloatArray
    try:
        with np.errstate(over="ignore"):  # numbers beyond float32 become infinite
            array = np.array(values if values != [] else np.zeros((0, *shape[1:])), np.float32)
    except (TypeError, ValueError, OverflowError):
        array = np.zeros((), np.float32)  # has no dimension, so it fits nowhere
    fits = array.ndim == len(shape) and all(want in (-1, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits:
        raise _DamageError(f"{name} is {values!r:.60}, expected {expected}")
    if len(wrong := np.argwhere(~np.isfinite(array))):
        place = wrong[0].tolist()
        raise _DamageError(f"{name}: number {place[0]} is {array[place[0]].tolist()}, expected {expected}")
    return array


def _number(value: Any, name: str) -> float:
    try:
        number = finite(float(value)) if isinstance(value, str) else finite(value)
    except ValueError:
        number = None
    if number is None:
        raise _DamageError(f"{name} is {value!r:.60}, expected a number")
    return number


def _whole(value: Any, name: str) -> int:
    number = _number(value, name)
    if number < 0 or number != int(number):
        raise _DamageError(f"{name} is {value!r:.60}, expected a whole number from 0")
    return int(number)


_READERS: dict[str, Callable[[Path, _Place], Any]] = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
