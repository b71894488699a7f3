"""Tracker of faces by published association rules, to compare our tracker with in the scenarios."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ....engines.closing import Closing
from ....engines.runtime import Runtime
from ....realtime.faces.face import Face
from ....realtime.faces.frame import Frame
from ....realtime.tracking.aligner import Aligner
from ....realtime.tracking.detector import Detector
from ....realtime.values.arrays import FloatArray
from ....realtime.values.landmarks import Landmarks
from ....realtime.values.schemes import SCHEMES
from .byte_track import WEAK, ByteTrack
from .cast import RATE
from .oc_sort import OCSort


class Rules(Protocol):
    """Association of detections with tracks, frame by frame."""

    def __init__(self, *, buffer: int = ...) -> None:
        """Start without tracks; lost ones are kept for ``buffer`` frames."""

    def update(self, boxes: FloatArray, scores: FloatArray) -> dict[int, int]:
        """Return the IDs of the faces of the next frame by the number of their detection.

        Args:
            boxes: (n, 4) bounding boxes in pixels.
            scores: (n,) detection scores in 0..1.
        """


RULES: dict[str, Callable[..., Rules]] = {"bytetrack": ByteTrack, "oc-sort": OCSort}


class SortTracker(Closing):
    """Tracker that detects faces in every frame, associates them by published rules, and aligns each of them.

    The landmarks of a face come from its detected box. They are not smoothed.
    """

    def __init__(self, rules: str, detector: Runtime, aligner: Runtime, *, keep: float | None = None) -> None:
        """Use loaded networks. The caller remains responsible for closing them.

        Args:
            rules: name of the rules, a key of ``RULES``.
            detector: face detector; its weak detections count, too.
            aligner: landmark network.
            keep: seconds at 30 frames a second for which a lost track is kept; None for the published value.
        """
        self._detector, self._aligner = Detector(detector, threshold=WEAK), Aligner(aligner)
        self._rules = RULES[rules]() if keep is None else RULES[rules](buffer=round(keep * RATE))

    def update(self, frame: Frame) -> list[Face]:
        """Track the next frame and return its faces, oldest track first."""
        seen = self._detector.detect(frame.image)
        ids = self._rules.update(seen.boxes, seen.scores)
        chosen = sorted(ids, key=lambda i: ids[i])
        # The second crop, upright around the landmarks, is the kind of crop used for tracking.
        rough = self._aligner.align(frame.image, [seen.regions[i] for i in chosen])
        found = self._aligner.align(frame.image, rough.regions)
        scheme = SCHEMES.get(self._aligner.scheme)
        results = zip(chosen, found.points, found.boxes, found.scores.tolist(), found.confidence, strict=True)
        return [
            Face(ids[i], box, score, Landmarks(points, scheme), confidence)
            for i, points, box, score, confidence in results
        ]

    def close(self) -> None:
        """Leave the networks open; they belong to the caller."""
