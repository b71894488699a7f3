"""Landmarks as iBUG ``.pts`` files, one for each face and frame, with 1-based coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....engines.output_paths import writing
from ..look_ahead.annotation import Annotated
from .base import Annotations, Export


class PtsExport(Export):
    """Folder of ``.pts`` files: ``NAME_ID.pts`` for an image, ``NUMBER_ID.pts`` for a frame of a video."""

    def __init__(self, path: Path, annotations: Annotations) -> None:
        """Create the folder."""
        self._path = path
        with writing(path):
            path.mkdir(parents=True)

    def write(self, annotated: Annotated) -> None:
        """Write a file for each face."""
        frame = annotated.frame
        name = frame.file or f"{frame.index:06d}"
        for face in annotated.faces:
            path = self._path / f"{name}_{face.id}.pts"
            points = np.asarray(face.landmarks, np.float64) + 1
            rows = "".join(f"{x:.2f} {y:.2f}\n" for x, y in points.tolist())
            with writing(path):
                path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}}}\n", encoding="utf-8")

    def close(self) -> None:
        """Return at once, because nothing is open."""
