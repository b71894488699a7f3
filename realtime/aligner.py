"""Frame and regions in, landmarks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..engines.errors import ModelError
from ..engines.runtime import Runtime
from .arrays import possible, probability
from .faces import FloatArray, Image, scheme_of
from .geometry import Region, places_of, to_frame
from .pixels import Pixels, pixels_of

# From a detector's box (forehead to chin) to the region of the landmarks (brows to chin): the centre lies lower
# by BOX_DOWN of the box's height, and the crop's side is BOX_SCALE times the box's longer side. Means over 630
# held-out faces of 300W, YouTube Faces and AFLW, between our detector's boxes and the labelled points, for crops
# with a margin of 1.25.
BOX_DOWN = 0.11
BOX_SCALE = 1.1

_BATCH = 32  # crops that go through the network together: more saves nothing and needs memory


@dataclass(frozen=True, slots=True)
class Alignments:
    """What the landmark network says of each of k regions of a frame.

    Attributes:
        points: (k, n, 2) float32, pixels of the frame.
        confidence: (k, n) float32 in 0..1.
        presence: (k,) float32 in 0..1: is a face there at all; 0 where a point is not finite.
    """

    points: FloatArray
    confidence: FloatArray
    presence: FloatArray


class Aligner:
    """Finds the landmarks of faces whose place is roughly known. Keeps no state.

    Attributes:
        landmarks: number of points of the network's scheme.
        threshold: presence at or above which a region shows a face.
    """

    def __init__(self, runtime: Runtime) -> None:
        """Use a loaded landmark network, which stays the caller's to close.

        Raises:
            ModelError: the network finds no landmarks, or does not take square crops.
        """
        spec = runtime.spec
        if spec.task != "landmarks":
            raise ModelError(f"model {spec.name!r} is a {spec.task}; give a landmark model")
        if spec.size[0] != spec.size[1]:
            width, height = spec.size
            raise ModelError(f"model {spec.name!r} takes crops of {width}x{height} pixels; give a square one")
        self._runtime, self._spec = runtime, spec
        self._scheme = scheme_of(spec.landmarks)
        self.landmarks, self.threshold = spec.landmarks, spec.threshold

    def align(self, picture: Image | Pixels, regions: Sequence[Region]) -> Alignments:
        """Find the landmarks of each region of a BGR picture; no regions give arrays of length 0."""
        n, pixels = self.landmarks, pixels_of(picture)
        found = [self._batch(pixels, regions[i : i + _BATCH]) for i in range(0, len(regions), _BATCH)]
        if len(found) == 1:
            return found[0]
        empty = Alignments(*(np.zeros(shape, np.float32) for shape in ((0, n, 2), (0, n), 0)))
        return Alignments(
            np.concatenate([empty.points, *(part.points for part in found)]),
            np.concatenate([empty.confidence, *(part.confidence for part in found)]),
            np.concatenate([empty.presence, *(part.presence for part in found)]),
        )

    def places_of(self, points: FloatArray) -> tuple[FloatArray, list[Region]]:
        """Boxes (k, 4) around k faces (k, n, 2) just found, and where to look for each next: around it, upright."""
        return places_of(points, self._scheme, margin=self._spec.crop_margin)

    def _batch(self, pixels: Pixels, regions: Sequence[Region]) -> Alignments:
        outputs = pixels.crops(self._runtime, regions)
        points, confidence = outputs["points"], probability(outputs["confidence"])
        presence = probability(outputs["presence"]) if "presence" in outputs else confidence.mean(axis=1)
        found = possible(points, (1, 2))
        if not found.all():  # in one point, where nothing is followed
            points, presence = np.where(found[:, None, None], points, np.float32(0)), presence * found
        return Alignments(to_frame(points, regions, self._spec.size[0]), confidence, presence)


def region_of_box(box: FloatArray) -> Region:
    """Where to look for the landmarks of a face that the detector has just boxed (4,)."""
    x0, y0, x1, y1 = box.tolist()
    width, height = x1 - x0, y1 - y0
    return Region((x0 + x1) / 2, (y0 + y1) / 2 + BOX_DOWN * height, BOX_SCALE * max(width, height))
