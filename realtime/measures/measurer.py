"""Measurer: the measures that were asked for, added to faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...engines.errors import NasionError
from ..faces.face import Face
from ..faces.measured import EyeOpening, Pose
from ..values.arrays import FloatArray
from ..values.scheme import LandmarkScheme
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
        """Return the faces with all measures of their landmarks, for landmarks that are smoothed by other means.

        Args:
            faces: faces of one image.
            size: width and height of the image in pixels.
        """
        if self._pose is not None:
            faces = [replace(face, pose=self.pose(face.landmarks, face.confidence, size)) for face in faces]
        return self.add_openings(faces)

    def pose(self, landmarks: FloatArray, confidence: FloatArray, size: tuple[int, int]) -> Pose | None:
        """Return the pose of a face, if it is measured; see ``PoseEstimator``.

        It is that of landmarks that are not smoothed, because the pose is smoothed itself.
        """
        return None if self._pose is None else self._pose(landmarks, confidence, size)

    def add_openings(self, faces: list[Face]) -> list[Face]:
        """Return the faces with the openings that are measured, of smoothed landmarks."""
        return faces if self._openings is None else [replace(face, **self._openings_of(face)) for face in faces]

    def _openings_of(self, face: Face) -> dict[str, Any]:
        assert self._openings is not None
        openings = self._openings(face.landmarks)
        found: dict[str, Any] = {}
        if self._eyes:
            found["eye_opening"] = EyeOpening(*openings[:2])
        if self._mouth:
            found["mouth_opening"] = openings[-1]
        return found
