"""Measurer: the measures that were asked for, added to faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...engines.errors import NasionError
from ..faces.face import Face
from ..faces.measured import EyeOpening
from ..values.schemes import LandmarkScheme
from .names import Measure
from .openings import EYES, MOUTH, Openings
from .pose import PoseEstimator


class Measurer:
    """Measures of faces with landmarks of one scheme. Stateless."""

    def __init__(
        self, measures: Sequence[Measure], scheme: LandmarkScheme | None, *, focal_length: float | None = None
    ) -> None:
        """Prepare some measures.

        Args:
            measures: some of ``names.MEASURES``.
            scheme: landmark scheme of the faces; None if it is unknown.
            focal_length: focal length of the camera in pixels; see ``PoseEstimator``.

        Raises:
            NasionError: a measure is not possible with this scheme.
        """
        if measures and scheme is None:
            raise NasionError(
                f"measures {', '.join(measures)} need a known landmark scheme, and the network names none; make it "
                "known with nasion.add_scheme, or leave measures out"
            )
        self._pose: PoseEstimator | None = None
        self._openings: Openings | None = None
        if scheme is not None:
            if "pose" in measures:
                self._pose = PoseEstimator(scheme, focal_length)
            parts = (*(EYES if "eyes" in measures else ()), *(MOUTH if "mouth" in measures else ()))
            self._openings = Openings(scheme, parts) if parts else None
        self._eyes, self._mouth = "eyes" in measures, "mouth" in measures

    def measure(self, faces: list[Face], size: tuple[int, int]) -> list[Face]:
        """Return the faces with their measures.

        Args:
            faces: faces of one image.
            size: width and height of the image in pixels.
        """
        if self._pose is None and self._openings is None:
            return faces
        return [replace(face, **self._measures(face, size)) for face in faces]

    def _measures(self, face: Face, size: tuple[int, int]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._pose is not None:
            found["pose"] = self._pose(face.landmarks, face.confidence, size)
        if self._openings is not None:
            openings = self._openings(face.landmarks)
            if self._eyes:
                found["eye_opening"] = EyeOpening(*openings[:2])
            if self._mouth:
                found["mouth_opening"] = openings[-1]
        return found
