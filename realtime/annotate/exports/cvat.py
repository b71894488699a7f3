"""CVAT XML 1.1: a track of points for each face of a video or sequence, or points on independent images.

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/. Coordinates count from the corner of the image, half a
pixel before the centre of its first pixel. CVAT interpolates between keyframes, so a frame is a keyframe only where
the landmarks leave the straight line between two others: a correction by hand takes few of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from ....engines.output_paths import writing
from ...faces.face import Face
from ...values.arrays import FloatArray
from ..look_ahead.annotation import Annotated
from .base import Annotations, Export, readable
from .coco import frame_name
from .spool import Spool

LABEL = "face"
HALF = 0.5
"""Pixels from CVAT's origin to the centre of the first pixel."""
_TOLERANCE = 0.015  # sides of a face by which a landmark may leave the line between two keyframes
_LONGEST = 60  # frames between two keyframes, at most


@dataclass(frozen=True, slots=True)
class _Shape:
    """Face in a frame, with its position among the chosen frames."""

    place: int
    frame: int
    face: Face

    @property
    def points(self) -> FloatArray:
        return np.asarray(self.face.landmarks)


class CvatExport(Export):
    """CVAT file. Tracks are collected beside the file, because it holds one after the other."""

    def __init__(self, path: Path, annotations: Annotations) -> None:
        """Begin the tracks."""
        self._path, self._journal = path, annotations.journal
        self._tracks: dict[int, _Track] = {}
        self._spool = Spool(path.with_name(f"{path.name}.spool"))
        self._independent = annotations.journal.kind == "images"
        self._place = self._last = 0

    def write(self, annotated: Annotated) -> None:
        """Add the faces of a frame to their tracks."""
        frame = annotated.frame
        self._last = frame.index
        with writing(self._path):
            if self._independent:
                self._spool.add(0, _image(frame.index, frame.file, frame.size, annotated.faces))
                return
            for face in annotated.faces:
                track = self._tracks.setdefault(face.id, _Track(self._spool, face.id))
                track.add(_Shape(self._place, frame.index, face))
            for number, track in list(self._tracks.items()):
                if track.is_gone(self._place):
                    track.end(frame.index)
                    del self._tracks[number]
        self._place += 1

    def finish(self) -> None:
        """Write the file."""
        with writing(self._path):
            for track in self._tracks.values():
                track.end(None)
            with self._path.open("w", encoding="utf-8") as file:
                file.write(_start(self._journal.source, self._mode, self._last + 1, self._size))
                for number in self._spool.numbers:
                    if not self._independent:
                        file.write(f'<track id="{number - 1}" label="{LABEL}" source="auto">\n')
                    self._spool.put(number, file)
                    if not self._independent:
                        file.write("</track>\n")
                file.write("</annotations>\n")

    def close(self) -> None:
        """Remove what was collected."""
        self._spool.close()

    @property
    def _mode(self) -> str:
        return "annotation" if self._independent else "interpolation"

    @property
    def _size(self) -> tuple[int, int]:
        return self._journal.width, self._journal.height


class _Track:
    """Run of a face: keyframes are chosen as the shapes come."""

    def __init__(self, spool: Spool, number: int) -> None:
        self._spool, self._number = spool, number
        self._waiting: list[_Shape] = []  # the last keyframe, and what follows it

    def add(self, shape: _Shape) -> None:
        """Add the next shape; it must be in the next frame."""
        if not self._waiting:
            self._put(shape, keyframe=True)
            self._waiting = [shape]
            return
        self._waiting.append(shape)
        if len(self._waiting) > _LONGEST or not _is_straight(self._waiting):
            self._key(len(self._waiting) - 2)

    def _key(self, at: int) -> None:
        """Make a waiting shape a keyframe, and write what lies before it."""
        for shape in self._waiting[1:at]:
            self._put(shape, keyframe=False)
        if at > 0:
            self._put(self._waiting[at], keyframe=True)
        self._waiting = self._waiting[at:]

    def is_gone(self, place: int) -> bool:
        """Return True if the face is not in a frame."""
        return self._waiting[-1].place < place

    def end(self, frame: int | None) -> None:
        """Write the rest, and an ``outside`` shape in the first frame without the face, if there is one."""
        self._key(len(self._waiting) - 1)
        if frame is not None:
            self._spool.add(self._number, _points(self._waiting[-1].face, frame=frame, outside=True, keyframe=True))

    def _put(self, shape: _Shape, *, keyframe: bool) -> None:
        self._spool.add(self._number, _points(shape.face, frame=shape.frame, keyframe=keyframe))


def _is_straight(shapes: Sequence[_Shape]) -> bool:
    """Return True if the shapes lie near the line from the first to the last."""
    first, last = shapes[0], shapes[-1]
    inner = shapes[1:-1]
    if not inner:
        return True
    if any(shape.face.interpolated != first.face.interpolated for shape in inner):
        return False
    x0, y0, x1, y1 = last.face.box.tolist()
    share = np.array([(s.frame - first.frame) / (last.frame - first.frame) for s in inner], np.float32)[:, None, None]
    line = first.points + share * (last.points - first.points)
    off = np.abs(np.stack([shape.points for shape in inner]) - line).max()
    return bool(off <= _TOLERANCE * max(x1 - x0, y1 - y0))


def _points(face: Face, *, frame: int | None = None, outside: bool = False, keyframe: bool = False) -> str:
    """Return a shape of a track, or of an image if ``frame`` is None."""
    place = "" if frame is None else f'frame="{frame}" outside="{int(outside)}" keyframe="{int(keyframe)}" '
    label = f'label="{LABEL}" source="auto" ' if frame is None else ""
    values = (np.asarray(face.landmarks, np.float64) + HALF).round(2).tolist()
    points = ";".join(f"{x},{y}" for x, y in values)
    attributes = {"id": face.id, "score": round(float(face.score), 4), "interpolated": str(face.interpolated).lower()}
    inner = "".join(f'<attribute name="{name}">{value}</attribute>' for name, value in attributes.items())
    return f'<points {label}{place}occluded="{int(face.interpolated)}" points="{points}" z_order="0">{inner}</points>\n'


def _image(index: int, file: str, size: tuple[int, int], faces: Sequence[Face]) -> str:
    name = quoteattr(readable(file) or frame_name("frame", index))
    inner = "".join(_points(face) for face in faces)
    return f'<image id="{index}" name={name} width="{size[0]}" height="{size[1]}">\n{inner}</image>\n'


def _start(source: str, mode: str, frames: int, size: tuple[int, int]) -> str:
    attributes = (("id", "False", "number"), ("score", "True", "text"), ("interpolated", "True", "checkbox"))
    described = "".join(
        f"<attribute><name>{name}</name><mutable>{mutable}</mutable><input_type>{kind}</input_type>"
        f"<default_value>{'false' if kind == 'checkbox' else '0'}</default_value>"
        f"<values>{'0;1000000;1' if kind == 'number' else ''}</values></attribute>"
        for name, mutable, kind in attributes
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>'
        f"<name>{escape(readable(source))}</name><size>{frames}</size><mode>{mode}</mode><overlap>0</overlap>"
        f"<start_frame>0</start_frame><stop_frame>{frames - 1}</stop_frame><frame_filter></frame_filter>"
        f"<labels><label><name>{LABEL}</name><type>points</type><attributes>{described}</attributes></label></labels>"
        f"<original_size><width>{size[0]}</width><height>{size[1]}</height></original_size></task></meta>\n"
    )
