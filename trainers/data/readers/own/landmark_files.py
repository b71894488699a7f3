"""Landmark files of nasion, after correction by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from .....engines.errors import SourceError
from .....realtime.exchange.reading import Reading
from .....realtime.faces.face import VISIBLE
from .....realtime.sources.image_files.sources import images_in
from ...base import DataError
from .labels import IMAGE_SUFFIXES, Label


def is_of_nasion(file: Path) -> bool:
    """Return True if a CSV file was written by ``nasion track``."""
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        start = stream.readline()
    return start.startswith("#") or {"frame", "time", "id"} <= set(start.strip().split(","))


def nasion_labels(file: Path) -> Iterator[Label]:
    """Yield the faces of a landmark file, each with its frame of the source that the header names."""
    try:
        with Reading(file) as frames:
            header = frames.header
            place = _place_of(file, header.source)
            for frame, faces in frames:
                for face in faces:
                    visible = None
                    if face.visibility is not None:
                        visible = (face.visibility == VISIBLE).astype(np.float32)
                    about = {"id": str(face.id), "source": header.source}
                    where = f"{file}, frame {frame.index}"
                    points = np.asarray(face.landmarks, np.float32)
                    yield Label(place.image(frame.index, where, frame.file), points, visible, about, face.scheme, where)
    except SourceError as error:
        raise DataError(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Place:
    """Source of a landmark file: an image, a folder of images, or a video."""

    path: Path
    kind: Literal["image", "folder", "video"]
    images: tuple[Path, ...] = ()

    def image(self, index: int, where: str, name: str) -> Path:
        """Return the path of frame ``index``, whose image file has ``name``; empty where the file does not tell it."""
        if self.kind == "folder" and name and (self.path / Path(name).name).is_file():
            return self.path / Path(name).name
        if self.kind == "video":
            return self.path / str(index + 1)
        if index >= len(self.images):
            raise DataError(f"{where} is not in {self.path}, which has {len(self.images)} images")
        return self.images[index]


def _place_of(file: Path, source: str) -> _Place:
    """Return the source that a header names: as it was given, or beside the file."""
    named = Path(source.removeprefix("file://")) if source else Path(file.stem)
    for path in (named, file.parent / named, file.parent / named.name):
        if path.is_dir() and (images := images_in(path)):
            return _Place(path, "folder", tuple(images))
        if path.is_file():
            kind: Literal["image", "video"] = "image" if path.suffix.lower() in IMAGE_SUFFIXES else "video"
            return _Place(path, kind, (path,))
    raise DataError(
        f"{file}: its source {source!r} is neither there nor beside the file; put the video or the images beside it"
    )
