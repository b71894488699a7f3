"""Readers of landmark files: JSON Lines, CSV and Parquet, in all format versions."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..engines.closing import Closing
from ..engines.errors import MissingExtra, SourceError
from .faces import Face
from .schemes import scheme_of
from .sinks.header import FORMAT, Header
from .sinks.landmarks import METADATA_KEY

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """Frame of a landmark file, without its image.

    Attributes:
        index: number of the frame within the source, from 0.
        time: time in seconds of the source.
        source: name of the source, as in ``Frame.source``; empty if the file does not contain it.
    """

    index: int
    time: float
    source: str = ""


class Reading(Closing):
    """Open landmark file; iterate over it once to get ``(frame, faces)`` of every frame.

    Attributes:
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
        self._path = path
        with _explained(path):
            self._records = _READERS[path.suffix.lower()](path)
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
            SourceError: the file is damaged.
        """
        with _explained(self._path):
            record = next(self._records)
            faces = [self._face(face) for face in record["faces"]]
            return FrameRecord(int(record["frame"]), float(record["time"]), self.header.source), faces

    def _face(self, record: Record) -> Face:
        landmarks = np.array(record["landmarks"], np.float32).reshape(-1, 2)
        usual = scheme_of(len(landmarks))
        scheme = self.header.scheme if len(landmarks) == self.header.landmarks else usual.name if usual else ""
        return Face(
            int(record["id"]),
            np.array(record["box"], np.float32),
            float(record["score"]),
            landmarks,  # type: ignore[arg-type]  # Face converts any array to Landmarks
            np.array(record["confidence"], np.float32),
            scheme=scheme,
        )

    def close(self) -> None:
        """Close the file. Calling it again does nothing."""
        self._records.close()


def read(path: str | Path) -> Reading:
    """Open a landmark file: ``for frame, faces in nasion.read("faces.jsonl")``.

    Yields every frame in order, including frames without faces.

    Args:
        path: .jsonl, .csv or .parquet file written by ``nasion track --landmarks`` of any version.

    Raises:
        SourceError: the file is missing, is not a landmark file, or has a later format. Damage in the middle is raised
            by the loop, after the last good frame.
        MissingExtra: a .parquet file needs pyarrow, which is not installed.
    """
    if not isinstance(path, str | Path):
        raise SourceError(f"read was given {path!r:.60} ({type(path).__name__}); give the path of a landmark file")
    return Reading(Path(path))


class _explained:
    """Context manager that converts the errors of a damaged file to ``SourceError``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, StopIteration | SourceError | MissingExtra) or not isinstance(error, Exception):
            return
        raise SourceError(
            f"{str(self._path)!r} cannot be read ({type(error).__name__}: {error}); give a file that nasion track "
            "--landmarks wrote"
        ) from error


def _json_lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as file:
        first = next(file, "")
        values: dict[str, Any] = json.loads(first) if first.strip() else {"format": FORMAT}
        if "frame" in values:
            count = len(values["faces"][0]["points"]) if values["faces"] else 68
            yield _first_format(count)
            yield _renamed(values)
        else:
            yield Header.from_values(values)
        for line in file:
            yield _renamed(json.loads(line))


def _renamed(record: Record) -> Record:
    """Rename the keys of a record of format 1 to those of format 2."""
    for face in record["faces"]:
        if "points" in face:
            face["landmarks"] = face.pop("points")
    return record


def _csv(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8", newline="") as file:
        about: dict[str, Any] = {}
        line = file.readline()
        while line.startswith("#"):
            name, _, value = line[1:].partition(":")
            about[name.strip()] = json.loads(value)
            line = file.readline()
        names = next(csv.reader([line]))
        count = sum(name.startswith("confidence") for name in names)
        yield Header.from_values(about) if about else _first_format(count)
        yield from _grouped(dict(zip(names, row, strict=True)) for row in csv.reader(file))


def _parquet(path: Path) -> Iterator[Any]:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", "a .parquet file") from error
    with parquet.ParquetFile(path) as file:
        metadata: Mapping[bytes, bytes] = file.schema_arrow.metadata or {}
        about = metadata.get(METADATA_KEY.encode())
        count = sum(name.startswith("confidence") for name in file.schema_arrow.names)
        yield Header.from_values(json.loads(about)) if about else _first_format(count)
        yield from _grouped(row for batch in file.iter_batches(batch_size=1000) for row in batch.to_pylist())


def _first_format(count: int) -> Header:
    usual = scheme_of(count)
    return Header(scheme=usual.name if usual else "", landmarks=count, format=1)


def _grouped(rows: Iterator[Mapping[str, Any]]) -> Iterator[Record]:
    """Group the rows of a table by frame."""
    present: Record | None = None
    for row in rows:
        index = int(row["frame"])
        if present is None or present["frame"] != index:
            if present is not None:
                yield present
            present = {"frame": index, "time": row["time"], "faces": []}
        if row["id"] not in (None, ""):
            present["faces"].append(_face_of(row))
    if present is not None:
        yield present


def _face_of(row: Mapping[str, Any]) -> Record:
    count = sum(name.startswith("confidence") for name in row)
    return {
        "id": row["id"],
        "box": [float(row[f"box_{name}"]) for name in ("x0", "y0", "x1", "y1")],
        "score": row["score"],
        "landmarks": [[float(row[f"x{i}"]), float(row[f"y{i}"])] for i in range(count)],
        "confidence": [float(row[f"confidence{i}"]) for i in range(count)],
    }


_READERS: dict[str, Callable[[Path], Any]] = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
