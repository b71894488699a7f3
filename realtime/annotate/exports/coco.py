"""COCO key points: one category ``face`` with a skeleton, and a track ID for each annotation.

Format: https://cocodataset.org/#format-data. Key points are indices of pixels, as those of nasion; a bounding box
counts from the corner of the image, half a pixel before the centre of its first pixel.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ....engines.output_paths import writing
from ...faces.face import VISIBLE, Face
from ...sinks.header import Header
from ..journal import JournalFrame
from ..look_ahead.annotation import Annotated
from .base import Annotations, Export, landmark_names, readable, scheme_of_header
from .spool import Spool

NOT_LABELLED, HIDDEN, SEEN = 0, 1, 2
"""Values of ``v`` of a key point: outside of the image; occluded, by the face itself too; visible."""


class CocoExport(Export):
    """COCO file. Images and annotations are written as they come."""

    def __init__(self, path: Path, annotations: Annotations) -> None:
        """Begin the file."""
        self._path, self._header = path, annotations.header
        self._source = readable(annotations.journal.source)
        self._is_video = annotations.journal.kind == "video"
        self._annotations = Spool(path.with_name(f"{path.name}.spool"))
        self._images = self._count = 0
        with writing(path):
            self._file = path.open("w", encoding="utf-8")
            start = {
                "info": {"description": f"faces of {PurePath(self._source).name}, by nasion"},
                "licenses": [],
                "videos": [{"id": 1, "file_name": PurePath(self._source).name}] if self._is_video else [],
                "categories": [category(self._header)],
            }
            self._file.write(_compact(start)[:-1] + ',"images":[')

    def write(self, annotated: Annotated) -> None:
        """Write an image, and keep its annotations."""
        frame = annotated.frame
        image: dict[str, Any] = {
            "id": frame.index + 1,
            "file_name": readable(frame.file) or frame_name(self._source, frame.index),
            "width": frame.size[0],
            "height": frame.size[1],
        }
        if self._is_video:
            image |= {"video_id": 1, "frame_id": frame.index, "timestamp": round(frame.time, 6)}
        with writing(self._path):
            self._file.write(("," if self._images else "") + "\n" + _compact(image))
            self._images += 1
            for face in annotated.faces:
                self._count += 1
                text = _compact(annotation(face, frame, self._count))
                self._annotations.add(0, ("," if self._count > 1 else "") + "\n" + text)

    def finish(self) -> None:
        """Write the annotations."""
        with writing(self._path):
            self._file.write('\n],"annotations":[')
            if self._count:
                self._annotations.put(0, self._file)
            self._file.write("\n]}\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with writing(self._path):
            try:
                self._file.close()
            finally:
                self._annotations.close()


def frame_name(source: str, index: int) -> str:
    """Return a name for the image of a frame of a video."""
    return f"{PurePath(source).stem.replace(':', '') or 'frame'}_{index:06d}.png"


def category(header: Header) -> dict[str, Any]:
    """Return the category ``face``: names of the key points, and the lines between them as pairs from 1."""
    scheme = scheme_of_header(header)
    lines: Sequence[Sequence[int]] = scheme.lines if scheme else ()
    return {
        "id": 1,
        "name": "face",
        "supercategory": "person",
        "keypoints": list(landmark_names(header)),
        "skeleton": [[a + 1, b + 1] for line in lines for a, b in pairwise(line)],
    }


def annotation(face: Face, frame: JournalFrame, number: int) -> dict[str, Any]:
    """Return the annotation of a face."""
    x0, y0, x1, y1 = np.asarray(face.box, np.float64).tolist()
    state: list[int] = visibility(face, frame.size).tolist()
    points = np.asarray(face.landmarks, np.float64).round(2).tolist()
    keypoints = [(0, 0, v) if v == NOT_LABELLED else (x, y, v) for (x, y), v in zip(points, state, strict=True)]
    values: dict[str, Any] = {
        "id": number,
        "image_id": frame.index + 1,
        "category_id": 1,
        "track_id": face.id,
        "bbox": [round(value, 2) for value in (x0 + 0.5, y0 + 0.5, x1 - x0, y1 - y0)],
        "area": round((x1 - x0) * (y1 - y0), 2),
        "iscrowd": 0,
        "keypoints": [*chain.from_iterable(keypoints)],
        "num_keypoints": sum(v != NOT_LABELLED for v in state),
        "score": round(float(face.score), 4),
    }
    measured = {name: value for name, value in face.to_dict().items() if name in _MEASURES}
    values["attributes"] = {"track_id": face.id, "interpolated": face.interpolated, **measured}
    return values


_MEASURES = ("yaw", "pitch", "roll", "head_x", "head_y", "head_z", "eye_left", "eye_right", "mouth")


def visibility(face: Face, size: tuple[int, int]) -> Any:
    """Return ``v`` (n,) of each key point."""
    points = np.asarray(face.landmarks)
    inside = ((points >= -0.5) & (points < np.array(size) - 0.5)).all(axis=1)
    seen = np.full(len(points), SEEN) if face.visibility is None else np.where(face.visibility == VISIBLE, SEEN, HIDDEN)
    if face.interpolated:
        seen = np.full(len(points), HIDDEN)
    return np.where(inside, seen, NOT_LABELLED)


def _compact(values: Any) -> str:
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False)
