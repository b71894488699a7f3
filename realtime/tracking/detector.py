"""Frame in, boxes and scores of the faces out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ...engines.errors import ModelError, NasionError
from ...engines.runtime import Runtime
from ..arrays import possible, probability
from ..faces import FloatArray, Image
from ..geometry import Region
from ..images.pixels import Pixels, pixels_of
from .aligner import region_of_box
from .face_finder import region_of_tight_box
from .feeding import run_letterbox

MOST_BOXES = 5000  # the best of them are compared with each other, which takes time with the square of their number
OVERLAP = 0.45  # boxes with a greater intersection over union show the same face
SMALLEST = 64  # the longer side of a tiny picture is enlarged to this, so that the network has something to see
LONGEST = 4  # times its shorter side: a longer picture is shown smaller to a network that goes by the shorter side


@dataclass(frozen=True, slots=True)
class Detections:
    """The faces that the detector sees in one image, best first.

    Attributes:
        boxes: (n, 4) float32: x0, y0, x1, y1 in pixels of the image, forehead to chin, or around the landmarks where
            the network finds these too; may reach beyond it.
        scores: (n,) float32 in 0..1.
        regions: n regions in which to look for the landmarks.
    """

    boxes: FloatArray
    scores: FloatArray
    regions: Sequence[Region] = ()

    def __len__(self) -> int:
        """Number of faces."""
        return len(self.scores)


class Detector:
    """Finds faces in a whole picture. Keeps no state, so that several threads may share one."""

    def __init__(self, runtime: Runtime, *, size: int | None = None, threshold: float | None = None) -> None:
        """Use a loaded detector network, which stays the caller's to close.

        Args:
            runtime: the network.
            size: longer side, in pixels, of the picture that the network sees: more finds smaller faces and
                costs time with its square; None for what the network was made for (of one that finds landmarks
                too, the shorter side).
            threshold: score at or above which a face counts as found; None for the network's own.

        Raises:
            ModelError: the network finds no faces.
            NasionError: a size or threshold that cannot be.
        """
        spec = runtime.spec
        if spec.task not in ("detector", "faces"):
            raise ModelError(f"model {spec.name!r} finds {spec.task}, not faces; give a detector")
        if size is not None and size < spec.stride:
            raise NasionError(f"detector size {size} is too small; at least {spec.stride} pixels")
        if threshold is not None and not 0 <= threshold <= 1:
            raise NasionError(f"detector threshold {threshold} is not within 0..1")
        self._runtime, self._spec = runtime, spec
        self._with_points = spec.task == "faces"
        self._by_shorter = self._with_points and size is None
        self.size = max(spec.size) if size is None else size
        self.threshold = spec.threshold if threshold is None else threshold

    def detect(self, image: Image | Pixels) -> Detections:
        """Find the faces of a BGR image."""
        return self.detect_all([pixels_of(image)])[0]

    def detect_all(self, images: Sequence[Pixels]) -> list[Detections]:
        """Find the faces of several images; those of one size go through the network together."""
        sizes = [self._input_size(image) for image in images]
        found: dict[int, Detections] = {}
        for size in dict.fromkeys(sizes):
            chosen = [i for i, each in enumerate(sizes) if each == size]
            outputs, ratios = run_letterbox(self._runtime, [images[i] for i in chosen], *size)
            for i, boxes, scores, ratio in zip(chosen, outputs["boxes"], outputs["scores"], ratios, strict=True):
                found[i] = self._detections(boxes, scores, ratio)
        return [found[i] for i in range(len(images))]

    def _input_size(self, image: Pixels) -> tuple[int, int]:
        """Return width and height that an image is reduced or enlarged to."""
        size = _longer(image.shape, min(self._spec.size)) if self._by_shorter else self.size
        return _fit(image.shape, size, least=size if self._with_points else SMALLEST)

    def _detections(self, boxes: FloatArray, scores: FloatArray, ratio: FloatArray) -> Detections:
        """Return what the network says of one image, in its pixels, each face once."""
        sure = (scores >= self.threshold) & np.isfinite(scores) & possible(boxes, 1)
        boxes, scores = _one_each(boxes[sure], probability(scores[sure]))
        boxes = (boxes + np.float32(0.5)) * ratio - np.float32(0.5)
        region = region_of_tight_box if self._with_points else region_of_box
        return Detections(boxes, scores, [region(box) for box in boxes])


def _longer(shape: tuple[int, ...], shorter: int) -> int:
    """The longer side of a picture (height, width, ...) whose shorter one becomes ``shorter``."""
    height, width = shape[:2]
    ratio: float = max(width, height) / min(width, height)
    return round(shorter * min(ratio, LONGEST))


def _fit(shape: tuple[int, ...], size: int, *, least: int) -> tuple[int, int]:
    """Width and height of a picture (height, width, ...) within ``size`` pixels.

    One whose longer side is below ``least`` is enlarged to it.
    """
    height, width = shape[:2]
    longer = max(height, width)
    scale = min(size, max(longer, min(size, least))) / longer
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _one_each(boxes: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Non-maximum suppression: the best box of each face, best first."""
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(corner_and_size.tolist(), scores.tolist(), 0.0, OVERLAP, top_k=MOST_BOXES)
    chosen = np.array(kept, np.intp).ravel()
    return boxes[chosen], scores[chosen]
