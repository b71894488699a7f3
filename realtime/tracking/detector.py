"""Detector: bounding boxes and scores of the faces in an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ...engines.errors import ModelError, NasionError
from ...engines.runtime import Runtime
from ..images.pixels import HostPixels, Pixels, pixels_of
from ..values.arrays import FloatArray, Image, possible, probability
from ..values.geometry import Region, containment, iou
from .aligner import region_of_box
from .face_finder import region_of_tight_box
from .feeding import run_letterbox

MOST_BOXES = 5000  # boxes that enter non-maximum suppression, best first; its time grows with the square of the number
OVERLAP = 0.45  # IoU above which two boxes are the same face
WITHIN = 0.8  # share of a box within a better one, at another size of the image, above which it is a part of that face
WEAK = 2 / 3  # of the threshold, from which a weak detection may be a face
SMALLEST = 64  # pixels; the longer side of a smaller image is enlarged to this before detection
LONGEST = 4  # longer over shorter side above which an image is reduced further, if the input size is the shorter side


# Further input sizes of a detector whose size is left to it: FAR times its usual size for small faces in large images,
# and shares of it for faces so large that it sees only parts of them.
FAR, NEAR = 10 / 3, (1 / 2, 1 / 3)
TURNS = 1, 2, 3  # quarter turns
_LARGER = 1.3  # an input so many times larger shows smaller faces


@dataclass(frozen=True, slots=True)
class Views:
    """Further ways in which a detector can see an image.

    Attributes:
        far: larger input size, in pixels of the longer side, for small faces; None if the image has no more pixels, or
            the user asked for one size.
        near: smaller input sizes, for faces that fill the image.
        turns: quarter turns of the image, for faces that are not upright.
    """

    far: int | None = None
    near: tuple[int, ...] = ()
    turns: tuple[int, ...] = ()

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """All input sizes for an upright image: None for the usual one, then ``far`` and ``near``."""
        return None, *([self.far] if self.far else []), *self.near


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces that the detector found in one image, best first.

    Attributes:
        boxes: (n, 4) float32: x0, y0, x1, y1 in pixels of the image, from forehead to chin, or around the landmarks if
            the network finds these too; may extend beyond the image.
        scores: (n,) float32 in 0..1.
        regions: n regions in which to look for the landmarks.
        turns: quarter turns, counter-clockwise, of the image that the detector saw.
    """

    boxes: FloatArray
    scores: FloatArray
    regions: Sequence[Region] = ()
    turns: int = 0

    def __len__(self) -> int:
        """Number of faces."""
        return len(self.scores)


class Detector:
    """Face detector for whole images. Stateless; threads may share it."""

    def __init__(self, runtime: Runtime, *, size: int | None = None, threshold: float | None = None) -> None:
        """Use a loaded detector network. The caller remains responsible for closing it.

        Args:
            runtime: the network.
            size: longer side, in pixels, of the image that the network sees. A larger one finds smaller faces; the time
                grows with its square. None for the size that the network was made for (the shorter side, if it finds
                landmarks too).
            threshold: score at or above which a face counts as found; None for the network's own.

        Raises:
            ModelError: the network does not find faces.
            NasionError: the size or threshold is not allowed.
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
        self._asked = size is not None
        self.size: int = max(spec.size) if size is None else size
        self.threshold: float = spec.threshold if threshold is None else threshold
        self._weak = self.threshold * (1 if self._with_points or threshold is not None else WEAK)

    def detect(self, image: Image | Pixels) -> Detections:
        """Detect the faces in a BGR image."""
        return self.detect_all([pixels_of(image)])[0]

    def views(self, shape: tuple[int, ...]) -> Views:
        """Return the further views of images of ``shape`` (height, width, ...)."""
        if self._with_points:
            return Views()
        if self._asked:
            return Views(turns=TURNS)
        longer = max(shape[:2])
        far = min(longer, round(FAR * self.size))
        near = tuple(size for share in NEAR if (size := round(share * min(self.size, longer))) >= SMALLEST)
        return Views(far if far > _LARGER * self.size else None, near, TURNS)

    def detect_all(
        self,
        images: Sequence[Pixels],
        sizes: Sequence[int | None] | None = None,
        turns: Sequence[int] | None = None,
        *,
        weak: bool = False,
    ) -> list[Detections]:
        """Detect the faces in several images; images of one input size go through the network in one batch.

        Args:
            images: the images.
            sizes: longer side of the network's input for each image; None for the usual one.
            turns: quarter turns, counter-clockwise, by which each image is rotated first, to find rotated faces;
                default: none.
            weak: return weak detections, too, with scores from two thirds of the threshold on.
        """
        least = self._weak if weak else self.threshold
        asked, rotated = sizes or [None] * len(images), turns or [0] * len(images)
        shapes, images = [image.shape for image in images], list(map(_turned, images, rotated))
        inputs = [self.input_size(image, size) for image, size in zip(images, asked, strict=True)]
        found: dict[int, Detections] = {}
        for size in dict.fromkeys(inputs):
            chosen = [i for i, each in enumerate(inputs) if each == size]
            outputs, ratios = run_letterbox(self._runtime, [images[i] for i in chosen], *size)
            for i, boxes, scores, ratio in zip(chosen, outputs["boxes"], outputs["scores"], ratios, strict=True):
                found[i] = self._detections(boxes, scores, ratio, least)
        return [_turned_back(found[i], shapes[i], rotated[i]) for i in range(len(images))]

    def detect_closely(self, images: Sequence[Pixels]) -> list[Detections]:
        """Detect the faces of all sizes in several images: each is seen at its own size and at all smaller ones.

        A detector whose size was given sees each image at that size only. Of detections of one face at several sizes,
        the best is kept; one that lies within a better one is taken for a part of that face.
        """
        if self._asked:
            return self.detect_all(images)
        sizes = [self._all_sizes(image.shape) for image in images]
        repeated = [image for image, each in zip(images, sizes, strict=True) for _ in each]
        found = iter(self.detect_all(repeated, [size for each in sizes for size in each]))
        return [_merged([next(found) for _ in each]) for each in sizes]

    def _all_sizes(self, shape: tuple[int, ...]) -> list[int]:
        """Return the longer side of an image, and the smaller sizes at which its larger faces are seen as a whole."""
        longer = max(shape[:2])
        if self._with_points:
            return [longer]
        usual = min(self.size, longer)
        return sorted({longer, *(usual if size is None else size for size in self.views(shape).sizes)}, reverse=True)

    def input_size(self, image: Pixels, size: int | None) -> tuple[int, int]:
        """Return the width and height to which an image is resized."""
        if size is None:
            size = _longer(image.shape, min(self._spec.size)) if self._by_shorter else self.size
        return _fit(image.shape, size, least=size if self._with_points else SMALLEST)

    def _detections(self, boxes: FloatArray, scores: FloatArray, ratio: FloatArray, least: float) -> Detections:
        """Convert the output of the network for one image to detections in its pixels, each face once."""
        sure = (scores >= least) & np.isfinite(scores) & possible(boxes, 1)
        boxes, scores = _one_each(boxes[sure], probability(scores[sure]))
        boxes = (boxes + np.float32(0.5)) * ratio - np.float32(0.5)
        region = region_of_tight_box if self._with_points else region_of_box
        return Detections(boxes, scores, [region(box) for box in boxes])


_ROTATIONS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}


def _turned(image: Pixels, turns: int) -> Pixels:
    """Return the image rotated by quarter turns, counter-clockwise, on the host."""
    return HostPixels(np.asarray(cv2.rotate(image.image, _ROTATIONS[turns]), np.uint8)) if turns else image


def _turned_back(found: Detections, shape: tuple[int, ...], turns: int) -> Detections:
    """Return detections in an image rotated by quarter turns as detections in the image, of ``shape``."""
    if not turns:
        return found
    right, bottom = shape[1] - 1, shape[0] - 1
    # x and y in the image, from those in the rotated one: the column that counts, its sign, and the offset
    x, y = {
        1: ((1, -1, right), (0, 1, 0)),
        2: ((0, -1, right), (1, -1, bottom)),
        3: ((1, 1, 0), (0, -1, bottom)),
    }[turns]
    corners = found.boxes.reshape(-1, 2, 2)
    mapped = np.stack([sign * corners[..., column] + offset for column, sign, offset in (x, y)], axis=-1)
    boxes = np.concatenate([mapped.min(axis=1), mapped.max(axis=1)], axis=1).astype(np.float32)
    regions = []
    for region in found.regions:
        centre = region.x, region.y
        at = [sign * centre[column] + offset for column, sign, offset in (x, y)]
        regions.append(replace(region, x=at[0], y=at[1], angle=region.angle + turns * math.pi / 2))
    return Detections(boxes, found.scores, regions, turns)


def _merged(views: Sequence[Detections]) -> Detections:
    """Return the detections of several views of one image, each face once, best first."""
    boxes, scores = np.concatenate([each.boxes for each in views]), np.concatenate([each.scores for each in views])
    regions = [region for each in views for region in each.regions]
    kept: list[int] = []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for i in np.argsort(-scores, kind="stable").tolist():
        box, best = boxes[i : i + 1], boxes[kept]
        is_part = (containment(box, best)[0] > WITHIN) & (areas[i] <= areas[kept])
        if not (iou(box, best)[0] > OVERLAP).any() and not is_part.any():
            kept.append(i)
    return Detections(boxes[kept], scores[kept], [regions[i] for i in kept])


def _longer(shape: tuple[int, ...], shorter: int) -> int:
    """Return the longer side of an image of ``shape`` (height, width, ...) resized to a shorter side of ``shorter``."""
    height, width = shape[:2]
    ratio: float = max(width, height) / min(width, height)
    return round(shorter * min(ratio, LONGEST))


def _fit(shape: tuple[int, ...], size: int, *, least: int) -> tuple[int, int]:
    """Return the width and height of an image of ``shape`` (height, width, ...) resized to fit ``size`` pixels.

    An image whose longer side is below ``least`` is enlarged to it.
    """
    height, width = shape[:2]
    longer = max(height, width)
    scale = min(size, max(longer, min(size, least))) / longer
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _one_each(boxes: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Apply non-maximum suppression and return the best box and score of each face, best first."""
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(corner_and_size.tolist(), scores.tolist(), 0.0, OVERLAP, top_k=MOST_BOXES)
    chosen = np.array(kept, np.intp).ravel()
    return boxes[chosen], scores[chosen]
