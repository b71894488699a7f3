"""Records of landmark files: the values of frames and faces, checked as they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..faces.face import OCCLUDED, SELF_OCCLUDED, VISIBLE
from ..sinks.landmarks import MEASURED
from ..values.arrays import FloatArray
from ..values.numeric import finite


class DamageError(Exception):
    """Damage of a landmark file, in words."""


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


class FaceRecord(NamedTuple):
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


Record = tuple[FrameRecord, list[FaceRecord]]
"""A frame and its faces."""


def parsed(text: str) -> Any:
    """Parse JSON.

    Raises:
        DamageError: it is not JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DamageError(f"it is not JSON ({error.msg} at column {error.colno})") from error


def json_object(value: Any, name: str) -> Mapping[str, Any]:
    """Check that a value is a JSON object; ``name`` says which one.

    Raises:
        DamageError: it is something else.
    """
    if not isinstance(value, dict):
        raise DamageError(f"{name} is {value!r:.60}, expected a JSON object")
    return value


def record_of_json(values: Mapping[str, Any]) -> Record:
    """Check a line of JSON Lines, of any format."""
    faces = values.get("faces")
    if not isinstance(faces, list):
        raise DamageError(f"faces is {faces!r:.60}, expected a list")
    found = []
    for face in (json_object(face, "a face") for face in faces):
        landmarks = face.get("landmarks", face.get("points"))  # ``points`` in format 1
        found.append(
            _face_record(face.get("id"), face.get("box"), face.get("score"), landmarks, face.get("confidence"), face)
        )
    frame = FrameRecord(
        whole_number(values.get("frame"), "frame"),
        number_of(values.get("time"), "time"),
        text_of(values.get("source"), "source"),
        text_of(values.get("file"), "file"),
        whole_number(values.get("connection", 0), "connection"),
    )
    return frame, found


def text_of(value: Any, name: str) -> str:
    """Check that a value is a text; None becomes an empty one.

    Raises:
        DamageError: it is something else.
    """
    if value is not None and not isinstance(value, str):
        raise DamageError(f"{name} is {value!r:.60}, expected a text")
    return value or ""


def record_of_row(row: Mapping[str, Any], count: int) -> FaceRecord:
    """Check a row of a table with a number of landmarks."""
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
) -> FaceRecord:
    """Check the values of a face; ``optional`` may have its visibility and what was measured."""
    index = whole_number(number, "id of a face")
    of_face = f"of face {index}"
    points = _numbers(landmarks, f"landmarks {of_face}", (-1, 2), "pairs x, y")
    return FaceRecord(
        index,
        _numbers(box, f"box {of_face}", (4,), "4 numbers x0, y0, x1, y1"),
        number_of(score, f"score {of_face}"),
        points,
        _numbers(confidence, f"confidence {of_face}", (len(points),), f"{len(points)} numbers, one for each landmark"),
        None if optional.get("visibility") is None else _visibility(optional["visibility"], of_face, len(points)),
        {
            measure: [number_of(optional[name], f"{name} {of_face}") for name in names]
            for measure, names in MEASURED.items()
            if all(optional.get(name) not in (None, "") for name in names)
        },
        None if optional.get("scheme") is None else str(optional["scheme"]),
        optional.get("interpolated") in (True, 1, "1"),
    )


def _visibility(values: Any, of_face: str, count: int) -> NDArray[np.uint8]:
    array = _numbers(values, f"visibility {of_face}", (count,), f"{count} of 0, 1 and 2, one for each landmark")
    if not np.isin(array, (SELF_OCCLUDED, OCCLUDED, VISIBLE)).all():
        raise DamageError(f"visibility {of_face} is {values!r:.60}, expected numbers of 0, 1 and 2")
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
        raise DamageError(f"{name} is {values!r:.60}, expected {expected}")
    if len(wrong := np.argwhere(~np.isfinite(array))):
        place = wrong[0].tolist()
        raise DamageError(f"{name}: number {place[0]} is {array[place[0]].tolist()}, expected {expected}")
    return array


def number_of(value: Any, name: str) -> float:
    """Convert a number, or the text of one, to a float.

    Raises:
        DamageError: it is something else.
    """
    try:
        number = finite(float(value)) if isinstance(value, str) else finite(value)
    except ValueError:
        number = None
    if number is None:
        raise DamageError(f"{name} is {value!r:.60}, expected a number")
    return number


def whole_number(value: Any, name: str) -> int:
    """Convert a whole number from 0, or the text of one, to an int.

    Raises:
        DamageError: it is something else.
    """
    number = number_of(value, name)
    if number < 0 or number != int(number):
        raise DamageError(f"{name} is {value!r:.60}, expected a whole number from 0")
    return int(number)
