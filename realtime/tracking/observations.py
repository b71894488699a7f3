"""Observations: faces found in regions of an image, aligned until the region fits the face."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ..images.pixels import Pixels
from ..values.arrays import FloatArray
from ..values.geometry import Region
from .aligner import Alignments
from .requests import Align, Steps

# Where a face is more than AGAIN of a region's side away from it, the region around that face is aligned as well, up to
# ALIGNMENTS times in all. A region that the face left by less than REST, in position, size or angle, is kept, because
# landmarks depend on their crop: otherwise a still face would never settle.
AGAIN, ALIGNMENTS, REST = 0.05, 4, 0.02
ANGLES = (0.0, math.pi / 2, math.pi, -math.pi / 2)  # rotations in which a new face is tried
UPRIGHT = 0.05  # mean confidence by which a rotated one must be better
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Observation:
    """Face found in one frame, not yet associated with a track.

    Attributes:
        points: (n, 2) float32, landmarks in pixels of the frame.
        confidence: (n,) float32 in 0..1.
        score: score of the face in 0..1; see ``Alignments.scores``.
        box: (4,) float32, bounding box of the landmarks.
        region: region in which to look for the face in the next frame.
        appearance: (192,) float32, descriptor of the face; None if it is unknown.
        visibility: (n,) uint8, see ``Face.visibility``; None if the network does not predict it.
    """

    points: FloatArray
    confidence: FloatArray
    score: float
    box: FloatArray
    region: Region
    appearance: FloatArray | None = None
    visibility: NDArray[np.uint8] | None = None

    @property
    def certainty(self) -> float:
        """Mean confidence of the landmarks."""
        return float(self.confidence.mean())


class Observer:
    """Looks for faces in regions of images. Like a tracker it calls no network: it yields requests."""

    def __init__(self, threshold: float) -> None:
        """Accept faces with a score of ``threshold`` and more, the threshold of the landmark network."""
        self._threshold = threshold

    def observe(
        self, image: Pixels, regions: list[Region], *, least: float | None = None, appearance: bool = False
    ) -> Steps[list[Observation | None]]:
        """Align the regions; None for one with a score below ``least`` (default: the network's threshold)."""
        if not regions:
            return []
        least = self._threshold if least is None else least
        found = cast(Alignments, (yield Align(image, regions, appearance)))
        descriptors = [None] * len(regions) if found.appearance is None else list(found.appearance)
        seen = [None] * len(regions) if found.visibility is None else list(found.visibility)
        height, width = image.shape[:2]
        observations: list[Observation | None] = []
        for i, (place, score, region, descriptor) in enumerate(
            zip(regions, found.scores.tolist(), found.regions, descriptors, strict=True)
        ):
            if score < least or not region.may_hold_face(width, height):
                observations.append(None)
                continue
            kept = place if place.change(region) < REST else region
            observations.append(
                Observation(found.points[i], found.confidence[i], score, found.boxes[i], kept, descriptor, seen[i])
            )
        return observations

    def observe_turned(self, image: Pixels, regions: list[Region]) -> Steps[list[Observation]]:
        """Align new faces upright and rotated by 90, 180 and 270 degrees, and keep the most certain."""
        rotated = [replace(region, angle=region.angle + angle) for region in regions for angle in ANGLES]
        found = yield from self.observe(image, rotated, least=self._threshold / 2)
        best = []
        for begin in range(0, len(rotated), len(ANGLES)):
            tries = [
                (observation.certainty + (UPRIGHT if angle == 0 else 0), observation)
                for angle, observation in zip(ANGLES, found[begin : begin + len(ANGLES)], strict=True)
                if observation is not None
            ]
            if tries:
                best.append(max(tries, key=lambda each: each[0])[1])
        return best

    def observe_again(
        self, image: Pixels, best: dict[K, tuple[Region, Observation]], *, appearance: bool
    ) -> Steps[None]:
        """Align again, in place, the observations that lie far from the region in which they were found."""
        for _ in range(ALIGNMENTS - 1):
            moved = [
                key
                for key, (place, seen) in best.items()
                if seen.region is not place and place.change(seen.region) > AGAIN
            ]
            regions = [best[key][1].region for key in moved]
            closer = yield from self.observe(image, regions, appearance=appearance)
            for key, observation in zip(moved, closer, strict=True):
                place = best[key][1].region
                best[key] = place, observation or replace(best[key][1], region=place)

    def find(self, image: Pixels, regions: Sequence[Region]) -> Steps[list[Observation | None]]:
        """Look for one face near each region; None where none is found."""
        found = yield from self.observe(image, list(regions), appearance=True)
        best = {
            i: (place, observation)
            for i, (place, observation) in enumerate(zip(regions, found, strict=True))
            if observation is not None
        }
        yield from self.observe_again(image, best, appearance=True)
        return [best[i][1] if i in best else None for i in range(len(regions))]
