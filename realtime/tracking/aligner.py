"""Aligner: landmarks of faces in regions of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import ModelError
from ...engines.runtime import Runtime
from ...engines.spec import joined
from ..images.pixels import Pixels, pixels_of
from ..values.arrays import FARTHEST, FloatArray, Image, possible, probability, within
from ..values.geometry import Region, boxes_and_regions, to_frame
from ..values.scheme_files import scheme_of_spec
from .appearance import appearance_of
from .feeding import Crops, run_crops, split
from .score import calibrated

# From a bounding box of the detector (forehead to chin) to the region of the landmarks (brows to chin): the centre is
# lower by BOX_DOWN of the box's height, and the side of the crop is BOX_SCALE times the box's longer side. Means over
# 630 held-out faces of 300W, YouTube Faces and AFLW, between our detector's boxes and the labelled landmarks, for
# crops with a margin of 1.25.
BOX_DOWN = 0.11
BOX_SCALE = 1.1

_BATCH = 64  # maximum number of crops in a batch; a larger batch is no faster and needs more memory


@dataclass(frozen=True, slots=True)
class Alignments:
    """Results of the landmark network for k regions of an image.

    Attributes:
        points: (k, n, 2) float32, landmarks in pixels of the image.
        confidence: (k, n) float32 in 0..1.
        scores: (k,) float32 in 0..1: probability that the landmarks are right, if the network's score is calibrated,
            otherwise that the region contains a face; 0 if a landmark is not finite or out of range.
        boxes: (k, 4) float32, bounding boxes of the landmarks.
        regions: k regions in which to look for each face in the next frame: upright, around its landmarks.
        appearance: (k, 192) float32, see ``appearance_of``; None if it was not asked for or the crops are on a GPU.
        visibility: (k, n) uint8, see ``Face.visibility``; None if the network does not predict it.
    """

    points: FloatArray
    confidence: FloatArray
    scores: FloatArray
    boxes: FloatArray
    regions: Sequence[Region]
    appearance: FloatArray | None = None
    visibility: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        """Number of regions."""
        return len(self.scores)


class Aligner:
    """Landmark network applied to faces whose position is roughly known. Stateless.

    Attributes:
        landmarks: number of landmarks of the network.
        visibility: True if the network predicts the visibility of each landmark.
        scheme: name of the landmark scheme; empty if it is unknown.
        threshold: score at or above which a region contains a face.
    """

    def __init__(self, runtime: Runtime) -> None:
        """Use a loaded landmark network. The caller remains responsible for closing it.

        Raises:
            ModelError: the network is not a landmark network, or does not take square crops.
        """
        spec = runtime.spec
        if spec.task != "landmarks":
            raise ModelError(f"model {spec.name!r} is a {spec.task}; give a landmark model")
        if spec.size[0] != spec.size[1]:
            width, height = spec.size
            raise ModelError(f"model {spec.name!r} takes crops of {width}x{height} pixels; give a square one")
        self._runtime, self._spec = runtime, spec
        self._scheme = scheme_of_spec(spec)
        self.scheme: str = spec.scheme or (self._scheme.name if self._scheme else "")
        self.landmarks: int = spec.landmarks
        self.visibility: bool = spec.visibility
        self.threshold: float = spec.threshold

    def align(self, image: Image | Pixels, regions: Sequence[Region]) -> Alignments:
        """Find the landmarks in each region of a BGR image. Without regions the arrays have length 0."""
        return self.align_all([(pixels_of(image), regions)])[0]

    def align_all(self, parts: Sequence[Crops], *, appearance: bool = False) -> list[Alignments]:
        """Find the landmarks in regions of several images; all regions go through the network in shared batches."""
        whole = self._run([(image, regions) for image, regions in parts if regions], appearance)
        counts = [len(regions) for _, regions in parts]
        if len(counts) == 1:
            return [whole]
        ends = np.cumsum(counts).tolist()
        return [_part(whole, end - count, end) for count, end in zip(counts, ends, strict=True)]

    def _run(self, parts: Sequence[Crops], appearance: bool) -> Alignments:
        n, regions = self.landmarks, [region for _, regions in parts for region in regions]
        if not regions:
            points, confidence, scores, boxes = (
                np.zeros(shape, np.float32) for shape in ((0, n, 2), (0, n), 0, (0, 4))
            )
            return Alignments(points, confidence, scores, boxes, [])
        runs = [run_crops(self._runtime, batch) for batch in split(parts, _BATCH)]
        found = joined([outputs for outputs, _ in runs])
        points, confidence = found["points"], probability(found["confidence"])
        scores = probability(found["presence"]) if "presence" in found else confidence.mean(axis=1)
        if self._spec.score is not None:
            scores = calibrated(self._spec.score, confidence.mean(axis=1), scores)
        if not within(points, -FARTHEST, FARTHEST):  # collapse to one point with score 0, which is never tracked
            finite = possible(points, (1, 2))
            points, scores = np.where(finite[:, None, None], points, np.float32(0)), scores * finite
        points = to_frame(points, regions, self._spec.size[0])
        boxes, regions = boxes_and_regions(points, self._scheme, margin=self._spec.crop_margin)
        crops = [crops for _, crops in runs if crops is not None] if appearance else []
        descriptors = np.concatenate([appearance_of(each) for each in crops]) if crops else None
        seen = found["visibility"].argmax(axis=2).astype(np.uint8) if self.visibility else None
        return Alignments(points, confidence, scores, boxes, regions, descriptors, seen)


def _part(whole: Alignments, begin: int, end: int) -> Alignments:
    """Return the results of regions ``begin`` to ``end``, which is excluded."""
    chosen = slice(begin, end)
    return Alignments(
        whole.points[chosen],
        whole.confidence[chosen],
        whole.scores[chosen],
        whole.boxes[chosen],
        whole.regions[chosen],
        None if whole.appearance is None else whole.appearance[chosen],
        None if whole.visibility is None else whole.visibility[chosen],
    )


def region_of_box(box: FloatArray) -> Region:
    """Return the region in which to look for the landmarks of a face, from its detected bounding box (4,)."""
    x0, y0, x1, y1 = box.tolist()
    width, height = x1 - x0, y1 - y0
    return Region((x0 + x1) / 2, (y0 + y1) / 2 + BOX_DOWN * height, BOX_SCALE * max(width, height))
