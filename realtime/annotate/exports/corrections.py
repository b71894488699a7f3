"""Corrections by hand: a CVAT file read back, with the journal that it came from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError, iterparse

import numpy as np

from ....engines.errors import SourceError
from ...faces.face import OCCLUDED, VISIBLE, Face
from ...measures.measurer import Measurer
from ...sinks.header import Header
from ...values.arrays import FloatArray
from ...values.geometry import box_of, iou
from ...values.landmarks import Landmarks
from ...values.schemes import SCHEMES
from ..journal import JournalHeader
from ..look_ahead.annotation import Annotated, Annotation
from .cvat import HALF, LABEL

_SAME = 0.3  # IoU of a face of the file and one of the journal from which on they are the same, if corrected by hand


class _Corrected(NamedTuple):
    """Shape of a face in a frame of a CVAT file."""

    points: FloatArray
    occluded: bool
    outside: bool
    score: float
    interpolated: bool
    drawn: bool


@dataclass(slots=True)
class _Track:
    """Shapes of a face by the number of the frame."""

    id: int
    shapes: dict[int, _Corrected] = field(default_factory=dict)

    def at(self, frame: int, frames: list[int]) -> _Corrected | None:
        """Return the shape in a frame, between two keyframes on the line between them; None if there is none."""
        if frame in self.shapes:
            shape = self.shapes[frame]
            return None if shape.outside else shape
        after = bisect_left(frames, frame)
        if after == 0:
            return None
        before = self.shapes[frames[after - 1]]
        if before.outside:
            return None
        if after == len(frames) or self.shapes[frames[after]].outside:
            return before  # as CVAT shows it: the last keyframe holds
        share = np.float32((frame - frames[after - 1]) / (frames[after] - frames[after - 1]))
        points = before.points + share * (self.shapes[frames[after]].points - before.points)
        return before._replace(points=points)


class Corrected:
    """Annotations of a CVAT file. Times, frames without faces and confidence are those of the journal.

    Attributes:
        path: the journal.
        journal: header of the journal.
        header: header of landmark files.
    """

    def __init__(self, path: Path, journal: Path) -> None:
        """Read a CVAT file.

        Raises:
            SourceError: a file cannot be read, or the CVAT file has faces with another number of landmarks.
        """
        self._annotation = Annotation(journal)
        self.path: Path = journal
        self.journal: JournalHeader = self._annotation.journal
        self.header: Header = self._annotation.header
        self._scheme = SCHEMES.get(self.header.scheme)
        focal_length = self.header.focal_length
        self._measurer = Measurer(self.header.measures, self._scheme, focal_length=focal_length)  # type: ignore[arg-type]
        self._file = path
        self._tracks = _read(path, self.header.landmarks)

    def __iter__(self) -> Iterator[Annotated]:
        """Yield every frame of the journal with the corrected faces.

        Raises:
            SourceError: the faces of the file lie elsewhere than those of the journal.
        """
        tracks = [(track, sorted(track.shapes)) for track in self._tracks]
        known = {
            (track.id, frame)
            for track in self._tracks
            for frame, shape in track.shapes.items()
            if not (shape.drawn or shape.outside)
        }
        agreeing = 0
        for annotated in self._annotation:
            index = annotated.frame.index
            before = {face.id: face for face in annotated.faces}
            faces = []
            for track, frames in tracks:
                shape = track.at(index, frames)
                if shape is not None:
                    faces.append(self._face(track.id, shape, before))
                    agreeing += (track.id, index) in known and _lies_on_one(faces[-1], annotated.faces)
            faces.sort()
            yield replace(annotated, faces=self._measurer.measure(faces, annotated.frame.size))
        if agreeing < len(known) / 2:
            raise SourceError(
                f"{str(self._file)!r} does not fit the journal: {agreeing} of its {len(known)} faces "
                "lie where the journal has one; give the journal that it came from: --journal"
            )

    def _face(self, number: int, shape: _Corrected, before: Mapping[int, Face]) -> Face:
        """Return a corrected face, with the confidence of the uncorrected one if there was one."""
        old = before.get(number)
        count = self.header.landmarks
        seen = None
        if self.header.visibility:
            known = old.visibility if old is not None else None
            seen = np.full(count, OCCLUDED if shape.occluded else VISIBLE, np.uint8) if known is None else known
        return Face(
            number,
            box_of(shape.points),
            shape.score,
            Landmarks(shape.points, self._scheme),
            np.ones(count, np.float32) if old is None else old.confidence,
            seen,
            scheme=self.header.scheme,
            interpolated=shape.interpolated,
        )


def _lies_on_one(face: Face, others: Sequence[Face]) -> bool:
    if not others:
        return False
    boxes = np.stack([np.asarray(other.box) for other in others])
    return bool(iou(np.asarray(face.box)[None], boxes).max() >= _SAME)


def _read(path: Path, count: int) -> list[_Track]:
    """Return the tracks of a CVAT file; each face of an independent image is one.

    Raises:
        SourceError: it cannot be read.
    """
    tracks: dict[int, _Track] = {}
    drawn: list[_Track] = []  # by hand; they have no identity yet
    try:
        for _, element in iterparse(path, events=("end",)):
            if element.tag == "track" and element.get("label") == LABEL:
                shapes = {int(each.attrib["frame"]): each for each in element.iter("points")}
                number = _number(next(iter(shapes.values()), None))
                track = tracks.setdefault(number, _Track(number)) if number else _Track(0)
                track.shapes |= {frame: _shape(each, count, path) for frame, each in shapes.items()}
                if not number:
                    drawn.append(track)
                element.clear()
            elif element.tag == "image":
                frame = int(element.attrib["id"])
                faces = [each for each in element.iter("points") if each.get("label") == LABEL]
                taken = {_number(each) for each in faces}
                free = (number for number in range(1, len(faces) + 1) if number not in taken)
                for each in faces:
                    number = _number(each) or next(free)
                    track = tracks.setdefault(number, _Track(number))
                    track.shapes[frame] = _shape(each, count, path)
                    track.shapes.setdefault(frame + 1, track.shapes[frame]._replace(outside=True))
                element.clear()
    except (OSError, ParseError, KeyError, ValueError) as error:
        raise SourceError(f"{str(path)!r} cannot be read ({error}); give a file in the format CVAT 1.1") from error
    for track in drawn:
        track.id = max(tracks, default=0) + 1
        tracks[track.id] = track
    return list(tracks.values())


def _number(shape: Element | None) -> int:
    """Return the identity of a shape: its attribute ``id``; 0 for one that was drawn by hand."""
    text = "" if shape is None else _attribute(shape, "id")
    return int(text) if text.isdecimal() else 0


def _attribute(shape: Element, name: str) -> str:
    return next((each.text or "" for each in shape.iter("attribute") if each.get("name") == name), "")


def _shape(element: Element, count: int, path: Path) -> _Corrected:
    pairs = [pair.split(",") for pair in element.attrib["points"].split(";")]
    points = np.array(pairs, np.float32).reshape(-1, 2) - np.float32(HALF)
    if len(points) != count or not np.isfinite(points).all():
        raise SourceError(
            f"{str(path)!r} has a face with {len(points)} landmarks, expected {count}; give the file of this journal"
        )
    drawn = not _number(element)
    try:
        score = 1.0 if drawn else min(max(float(_attribute(element, "score")), 0.0), 1.0)
    except ValueError:
        score = 1.0
    return _Corrected(
        points,
        element.get("occluded") == "1",
        element.get("outside") == "1",
        score,
        _attribute(element, "interpolated") == "true",
        drawn,
    )
