"""Training images of the shipped face detector: crowds, pasted faces, and images without faces."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from ....realtime.values.arrays import FloatArray, Image
from ....realtime.values.geometry import iou, transform, warp
from ....realtime.values.published_schemes import IBUG_68
from ...data import FOREHEAD, LandmarkSet, SampleStream, TrainingData, augment, batch_of_pixels, pixels_of

SMALLEST = 9.0  # faces smaller than this, in pixels of the training image, are ignored in the loss

# How often a face of each labelled set is pasted, relative to the others.
PASTED = {
    "300w": 0.24,
    "aflw68": 0.30,
    "ytf68": 0.06,
    "aflw68-context": 0.12,
    "cfp-profile": 0.12,
    "wflw98": 0.05,
    "wflw98-more": 0.02,
    "infants": 0.15,
}


def face_box(points: FloatArray) -> FloatArray:
    """Return a bounding box (4,) in WIDER's convention for points (n, 2), NaN where not annotated."""
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    low[1] -= FOREHEAD * (high[1] - low[1])
    return np.concatenate([low, high]).astype(np.float32)


Item = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(slots=True)
class _Scene:
    """Image with its faces: boxes (K,4), invalid (K,), roll (K,) in radians, NaN where unknown."""

    image: Image
    boxes: FloatArray
    invalid: FloatArray
    roll: FloatArray


class DetectionSamples(SampleStream[Item]):
    """Endless, reproducible stream of training images: image number i is always the same for one seed.

    An item is an image (S,S,3) of RGB bytes, its boxes (K,4), a flag per box (K,), 1 if it counts, and the cosine and
    sine of each face's roll (K,2), zeros where it is unknown.
    """

    def __init__(self, data: TrainingData, *, size: int = 320, seed: int = 0) -> None:
        """Draw from ``data``; images have ``size`` x ``size`` pixels."""
        super().__init__(seed)
        self.data, self.size = data, size
        shares = np.array([PASTED.get(each.name, 0.0) * (len(each) > 0) for each in data.faces])
        self._shares = shares / shares.sum() if len(shares) else shares
        self._angles = [_rolls(each) for each in data.faces]

    def __getitem__(self, index: int) -> Item:
        """Return image, boxes, counts and rolls."""
        rng = self.generator(index)
        draw = rng.random()
        if draw < 0.52 or not self.data.negatives or (draw < 0.86 and not self.data.faces):
            scene = self._crowd(rng)
        elif draw < 0.86:
            scene = self._portraits(rng)
        else:
            scene = self._faceless(rng)
        image = augment.vary(rng, scene.image, strength=0.6)
        if rng.random() < 0.15:
            image = augment.lighting(rng, image)
        boxes, counts, roll = self._clip(scene)
        known = np.isfinite(roll)[:, None]
        vectors = np.where(known, np.stack([np.cos(roll), np.sin(roll)], axis=1), 0).astype(np.float32)
        return pixels_of(image), torch.from_numpy(boxes), torch.from_numpy(counts), torch.from_numpy(vectors)

    def _window(
        self,
        rng: Generator,
        image: Image,
        *,
        at: FloatArray,
        scale: float,
        angle: float,
        spread: float = 1.0,
        free: bool = False,
    ) -> tuple[FloatArray, bool]:
        """Return a transform that shows ``image`` at ``scale`` with the position ``at`` inside, and True if mirrored.

        ``spread`` scales the part of the window in which the position may lie.
        Unless ``free``, the window exceeds the image only if the image is smaller than the window.
        """
        height, width = image.shape[:2]
        stretch = np.exp(rng.normal(0, 0.05))
        sx, sy = scale * stretch, scale / stretch
        to = (0.5 + rng.uniform(-0.42, 0.42, 2) * spread) * self.size
        x, y = to[0] - at[0] * sx, to[1] - at[1] * sy
        if not free:
            x = np.clip(x, min(0, self.size - width * sx), max(0, self.size - width * sx))
            y = np.clip(y, min(0, self.size - height * sy), max(0, self.size - height * sy))
        matrix = np.array([[sx, 0, x], [0, sy, y]], np.float32)
        if mirrored := bool(rng.random() < 0.5):
            matrix[0] = -matrix[0]
            matrix[0, 2] += self.size - 1
        centre = transform(at[None].astype(np.float32), matrix)[0] if free else np.full(2, self.size / 2 - 0.5)
        rotation = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), -np.degrees(angle), 1)
        rotated: FloatArray = (rotation @ np.vstack([matrix, [0, 0, 1]])).astype(np.float32)
        return rotated, mirrored

    def _crowd(self, rng: Generator) -> _Scene:
        i = int(rng.integers(len(self.data.wider)))
        image, boxes, invalid = (
            self.image(self.data.wider.files[i]),
            self.data.wider.boxes[i],
            self.data.wider.invalid[i],
        )
        if len(boxes) and rng.random() < 0.88:
            box = boxes[rng.integers(len(boxes))]
            wanted = np.exp(rng.uniform(np.log(12), np.log(self.size)))
            scale, at = float(np.clip(wanted / max(float((box[2:] - box[:2]).max()), 4.0), 0.3, 3.0)), _centre(box)
        else:  # surroundings of people, which detectors confuse with faces
            scale, at = float(rng.uniform(0.5, 1.5)), rng.uniform(0, 1, 2).astype(np.float32) * image.shape[1::-1]
        draw = rng.random()
        angle = 0.0 if draw < 0.5 else float(rng.normal(0, 0.15)) if draw < 0.92 else float(rng.uniform(-1.6, 1.6))
        matrix, _ = self._window(rng, image, at=at, scale=scale, angle=angle)
        return _Scene(
            warp(image, matrix, self.size),
            _map_boxes(boxes, matrix),
            invalid.astype(np.float32),
            np.full(len(boxes), np.nan, np.float32),
        )

    def _portraits(self, rng: Generator) -> _Scene:
        """Paste one to four labelled faces over an image without a face, or over a uniform shade."""
        canvas = self._faceless(rng).image
        if rng.random() < 0.3:
            canvas[:] = rng.integers(0, 256) if rng.random() < 0.5 else 0
        count = 1 if rng.random() < 0.6 else int(rng.integers(2, 5))
        boxes: list[FloatArray] = []
        rolls: list[float] = []
        for _ in range(count):
            shown, box, roll = self._portrait(rng, canvas, alone=count == 1)
            if any(float(iou(box[None], other[None])[0, 0]) > 0 or _inside(box, other) for other in boxes):
                continue
            canvas = shown
            boxes.append(box)
            rolls.append(roll)
        return _Scene(canvas, np.stack(boxes), np.zeros(len(boxes), np.float32), np.array(rolls, np.float32))

    def _portrait(self, rng: Generator, canvas: Image, *, alone: bool) -> tuple[Image, FloatArray, float]:
        """Return ``canvas`` with a face pasted over it, the face's box and its roll."""
        chosen = int(rng.choice(len(self._shares), p=self._shares))
        data = self.data.faces[chosen]
        i = int(rng.integers(len(data)))
        image, box = self.image(data.files[i]), face_box(data.points[i]) if data.boxes is None else data.boxes[i]
        longer = float((box[2:] - box[:2]).max())
        if alone and rng.random() < 0.55:
            wanted = rng.uniform(0.3, 1.2) * self.size
        else:
            wanted = np.exp(rng.uniform(np.log(16), np.log(0.45 * self.size)))
        scale = float(np.clip(wanted / longer, 0.1, 4.0))
        draw = rng.random()
        rotation = (
            rng.normal(0, 0.15) if draw < 0.45 else rng.uniform(-1.6, 1.6) if draw < 0.7 else rng.uniform(-np.pi, np.pi)
        )
        spread = min(1.0, 0.5 * self.size / (scale * longer))
        matrix, mirrored = self._window(
            rng, image, at=_centre(box), scale=scale, angle=float(rotation), spread=spread, free=True
        )
        # a soft edge in half of the cases, because a hard one would reveal the pasted face
        soft = float(rng.uniform(1, 0.06 * self.size)) if rng.random() < 0.5 else 0.0
        shown = _pasted(canvas, warp(image, matrix, self.size), _mask(image, matrix, self.size, soft))
        own = self._angles[chosen][i]
        roll = float((-own if mirrored else own) + rotation)
        return shown, _map_boxes(box[None], matrix)[0], roll

    def _faceless(self, rng: Generator) -> _Scene:
        image = self.image(self.data.negatives[rng.integers(len(self.data.negatives))])
        at = rng.uniform(0, 1, 2).astype(np.float32) * image.shape[1::-1]
        scale = float(np.exp(rng.uniform(np.log(0.8), np.log(3.0))))
        matrix, _ = self._window(rng, image, at=at, scale=scale, angle=float(rng.normal(0, 0.2)))
        none = np.zeros(0, np.float32)
        return _Scene(warp(image, matrix, self.size), np.zeros((0, 4), np.float32), none, none)

    def _clip(self, scene: _Scene) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Clip boxes at the image's border; those that are too small or mostly outside do not count."""
        boxes, invalid = scene.boxes, scene.invalid
        clipped = np.clip(boxes, -0.5, self.size - 0.5)
        extent, whole = clipped[:, 2:] - clipped[:, :2], (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        seen = extent.prod(axis=1) / np.maximum(whole, 1e-6)
        there = (extent.min(axis=1) > 2) & (seen > 0.1)
        counts = (invalid == 0) & (extent.max(axis=1) >= SMALLEST) & (seen > 0.35)
        return clipped[there].astype(np.float32), counts[there].astype(np.float32), scene.roll[there]


def _mask(image: Image, matrix: FloatArray, size: int, soft: float) -> FloatArray:
    """Return the part (size, size), 0..1, of each pixel of a window that an image covers, after ``matrix`` (2,3).

    Args:
        image: the image.
        matrix: transform from the image to the window.
        size: side of the window in pixels.
        soft: standard deviation in pixels of the Gaussian that softens the edge, inwards only; 0 for a hard edge.
    """
    height, width = image.shape[:2]
    coarse = 4 if soft > 4 else 1  # a blurred mask has no detail that needs all pixels
    edge = 0.5 * coarse / float(np.hypot(*matrix[:, 0]))  # OpenCV fills the pixels under the outline, too
    ends = np.array([[edge, edge], [width - edge, edge], [width - edge, height - edge], [edge, height - edge]]) - 0.5
    mask = np.zeros((size // coarse, size // coarse), np.uint8)
    corners = (transform(ends.astype(np.float32), matrix) + 0.5) / coarse - 0.5
    cv2.fillConvexPoly(mask, np.round(corners * 16).astype(np.int32), (255,), cv2.LINE_AA, shift=4)
    if not soft:
        return (mask > 127).astype(np.float32)
    mask = cv2.GaussianBlur(mask, (0, 0), soft / coarse).astype(np.uint8, copy=False)
    part: FloatArray = np.clip(mask * np.float32(2 / 255) - 1, 0, 1)
    return part if coarse == 1 else cv2.resize(part, (size, size)).astype(np.float32, copy=False)


def _pasted(canvas: Image, face: Image, part: FloatArray) -> Image:
    """Return ``canvas`` with ``face`` over it, ``part`` (H,W) of it in each pixel."""
    shown = canvas.copy()
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    if len(rows):
        place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        weight = np.ascontiguousarray(part[place])
        shown[place] = cv2.blendLinear(face[place], canvas[place], weight, 1 - weight)
    return shown


def _centre(boxes: FloatArray) -> FloatArray:
    """Return the centres (..., 2) of boxes (..., 4)."""
    return (boxes[..., :2] + boxes[..., 2:]) * np.float32(0.5)


def _inside(box: FloatArray, other: FloatArray) -> bool:
    """Return True if the centre of either box (4,) lies inside the other."""
    return any(bool(((_centre(a) > b[:2]) & (_centre(a) < b[2:])).all()) for a, b in ((box, other), (other, box)))


def _rolls(data: LandmarkSet) -> FloatArray:
    """Return the roll (N,) of each face of a set in radians, NaN if the annotation does not show it."""
    return np.array([_roll(points) for points in data.points], np.float32)


def _roll(points: FloatArray) -> float:
    """Return the roll of a face in radians, clockwise positive (y down); NaN if unknown.

    It is the angle of the line through the eyes if both are annotated, else that of the line from the mouth to the
    visible eye, for a face in profile.
    """
    left, right, mouth = (_mean(points, part) for part in (IBUG_68.left_eye, IBUG_68.right_eye, IBUG_68.mouth))
    if np.isfinite(left).all() and np.isfinite(right).all():
        dx, dy = (right - left).tolist()
        return float(np.arctan2(dy, dx))
    eye = left if np.isfinite(left).all() else right
    dx, dy = (mouth - eye).tolist()
    return float(np.arctan2(-dx, dy)) if np.isfinite(dx) else float("nan")


def _mean(points: FloatArray, part: tuple[int, ...]) -> FloatArray:
    chosen = points[list(part)]
    known = np.isfinite(chosen[:, 0])
    return chosen[known].mean(axis=0) if known.any() else np.full(2, np.nan, np.float32)


def _map_boxes(boxes: FloatArray, matrix: FloatArray) -> FloatArray:
    """Transform boxes (k,4): the result is the bounding box of the transformed ellipse inscribed in each box."""
    if not len(boxes):
        return np.zeros((0, 4), np.float32)
    centres = transform(_centre(boxes), matrix)
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    linear = matrix[:, :2]
    reach = np.sqrt((half**2) @ (linear.T**2))
    return np.concatenate([centres - reach, centres + reach], axis=1).astype(np.float32)


Batch = tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]


def collate(items: list[Item]) -> Batch:
    """Stack the images of a batch to (B,3,S,S) in 0..1; boxes stay lists, because their number differs."""
    images, boxes, counts, rolls = zip(*items, strict=True)
    return batch_of_pixels(images), list(boxes), list(counts), list(rolls)
