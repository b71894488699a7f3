"""Training crops of the shipped landmark network: faces of several sets, and non-faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from ....engines.spec import Spec
from ....realtime.faces.face import OCCLUDED, SELF_OCCLUDED, VISIBLE
from ....realtime.values.arrays import FloatArray, Image
from ....realtime.values.geometry import Region, region_of_points, roll, transform, warp
from ....realtime.values.published_schemes import IBUG_68
from ...data import FOREHEAD, LandmarkSet, SampleStream, TrainingData, augment, batch_of_pixels, pixels_of

# How often each kind of crop is drawn, relative to the others. 300W defines the landmarks, AFLW adds large poses,
# YouTube Faces adds video, the pools add profiles, occlusion, blur and babies; the rest trains presence. Sets that are
# not available are left out.
SHARES = {
    "300w": 0.46,
    "aflw68": 0.22,
    "aflw68-context": 0.02,
    "ytf68": 0.05,
    "wflw98": 0.05,
    "wflw98-more": 0.03,
    "cfp-profile": 0.05,
    "infants": 0.02,
    "wider": 0.02,
    "faceless": 0.08,
}
# The labels of YouTube Faces are whole pixels with a noisy outline: they have a lower weight and their own correction.
SET_WEIGHT = {
    "300w": 1.0,
    "aflw68": 1.0,
    "aflw68-context": 1.0,
    "ytf68": 0.4,
    "wflw98": 0.8,
    "wflw98-more": 0.7,
    "cfp-profile": 0.8,
    "infants": 0.6,
}
CORRECTED = ("ytf68", "wflw98", "wflw98-more", "cfp-profile", "infants")
"""Sets whose labels differ from 300W's by a learned offset per landmark."""
TELLS_VISIBILITY = ("aflw68", "aflw68-context")
"""Sets in which a landmark without annotation is self-occluded, and occlusion is marked."""
UNKNOWN = -1
_OF_ROLL = [*IBUG_68.left_eye, *IBUG_68.right_eye, *IBUG_68.mouth]


class Labels(TypedDict):
    """Crop with its labels, or a batch of them.

    ``image`` (S,S,3) RGB bytes, in a batch (B,3,S,S) in 0..1; ``points`` (n,2) in crop pixels; ``known`` (n,) weight of
    each landmark's annotation; ``hidden`` (n,) marks self-occluded landmarks; ``visibility`` (n,) int64, ``UNKNOWN`` if
    the set does not annotate it; ``presence`` 0 or 1.
    """

    image: Tensor
    points: Tensor
    known: Tensor
    hidden: Tensor
    visibility: Tensor
    presence: Tensor


class Item(Labels):
    """Crop with the correction of its set, or a batch of them.

    ``corrected`` (2,2) maps the set's correction into the crop, all zero for sets without one; ``set`` () is the index
    of the set in ``CORRECTED``, 0 for others.
    """

    corrected: Tensor
    set: Tensor


@dataclass(frozen=True, slots=True)
class _Crop:
    image: Image
    points: FloatArray | None = None
    set_name: str = ""
    present: bool = False
    corrected: FloatArray | None = None
    visibility: NDArray[np.int64] | None = None


class AlignmentSamples(SampleStream[Item]):
    """Endless, reproducible stream of crops: crop number i is always the same for one seed."""

    def __init__(self, data: TrainingData, spec: Spec, *, seed: int = 0) -> None:
        """Draw crops in the format of ``spec`` from ``data``."""
        super().__init__(seed)
        self.data, self.size, self.margin = data, spec.size[0], spec.crop_margin
        sets = {each.name for each in data.faces if len(each)}
        shares = {name: share for name, share in SHARES.items() if name in sets or name in ("wider", "faceless")}
        total = sum(shares.values())
        self._kinds = list(shares)
        self._below = np.cumsum(list(shares.values())) / total
        self._sets = {each.name: each for each in data.faces}

    def __getitem__(self, index: int) -> Item:
        """Return crop number ``index`` with its labels."""
        rng = self.generator(index)
        kind = self._kinds[int(self._below.searchsorted(rng.random(), side="right"))]
        if kind == "faceless":
            crop = self.faceless(rng)
        elif kind == "wider":
            crop = self._unlabelled(rng)
        else:
            crop = self._face(rng, self._sets[kind])
        return as_item(crop)

    def _face(self, rng: Generator, chosen: LandmarkSet) -> _Crop:
        i = int(rng.integers(len(chosen)))
        points, angle = chosen.points[i], face_angle(chosen.points[i])
        region = augment.jitter_region(rng, extent(chosen, i), margin=self.margin, angle=angle)
        matrix = region.to_crop(self.size)
        if mirrored := rng.random() < 0.5:
            matrix = augment.mirror(matrix, self.size)
        image = augment.vary(rng, warp(self.image(chosen.files[i]), matrix, self.size), strength=0.5)
        image = augment.disturb(rng, image)
        moved, seen = transform(points, matrix), _visibility(chosen, i)
        if mirrored:
            moved, seen = moved[list(IBUG_68.flip)], seen[list(IBUG_68.flip)]
        rotation = (region.angle - angle) * (1 if mirrored else -1)
        corrected = self._correction(extent(chosen, i), region, rotation, chosen.name)
        return _Crop(image, moved, chosen.name, True, corrected, seen)

    def _correction(self, points: FloatArray, region: Region, rotation: float, name: str) -> FloatArray:
        """Return the map (2,2) from an upright face of unit size to crop pixels; zeros for sets without correction."""
        if name not in CORRECTED:
            return np.zeros((2, 2), np.float32)
        unit = region_of_points(points, margin=1.0).side * self.size / region.side
        cos, sin = np.cos(rotation) * unit, np.sin(rotation) * unit
        return np.array([[cos, -sin], [sin, cos]], np.float32)

    def _unlabelled(self, rng: Generator) -> _Crop:
        """Return the crop of a WIDER face, which trains presence only."""
        while True:
            i = int(rng.integers(len(self.data.wider)))
            boxes = self.data.wider.boxes[i]
            boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= 28]
            if len(boxes):
                break
        box = boxes[rng.integers(len(boxes))]
        brows = np.array([box[0], box[1] + 0.2 * (box[3] - box[1])], np.float32)
        region = augment.jitter_region(rng, np.stack([brows, box[2:]]), margin=self.margin, shift=0.05)
        image = augment.vary(rng, warp(self.image(self.data.wider.files[i]), region.to_crop(self.size), self.size))
        return _Crop(image, present=True)

    def faceless(self, rng: Generator) -> _Crop:
        """Return a crop of background, or one so misplaced or covered that it must not be tracked."""
        draw = rng.random()
        place = self._background if draw < 0.35 else self._between_faces if draw < 0.65 else self._misplaced
        image, region = place(rng) if draw < 0.85 else self._covered(rng)
        return _Crop(augment.vary(rng, warp(image, region.to_crop(self.size), self.size)))

    def _covered(self, rng: Generator) -> tuple[Image, Region]:
        """Return an image with a face that is covered completely or except for a rim, and the face's region."""
        chosen = self.data.faces[int(rng.integers(len(self.data.faces)))]
        i = int(rng.integers(len(chosen)))
        region = region_of_points(extent(chosen, i), margin=self.margin)
        half = 0.5 * region.side * rng.uniform(0.75, 1.1)
        x, y = round(region.x), round(region.y)
        image = self.image(chosen.files[i]).copy()
        x0, y0, x1, y1 = max(0, x - int(half)), max(0, y - int(half)), x + int(half), y + int(half)
        hole = image[y0:y1, x0:x1]
        cover, place = self._background(rng)
        if rng.random() < 0.3:
            hole[:] = rng.integers(0, 256, 3)
        else:
            size = max(hole.shape[:2])
            hole[:] = warp(cover, place.to_crop(size), size)[: hole.shape[0], : hole.shape[1]]
        return image, region

    def _background(self, rng: Generator) -> tuple[Image, Region]:
        image = self.image(self.data.negatives[rng.integers(len(self.data.negatives))])
        return image, augment.random_region(rng, image)

    def _between_faces(self, rng: Generator) -> tuple[Image, Region]:
        """Return a part of a WIDER image without an annotated face: shoulders, hands, surroundings of people."""
        for _ in range(20):
            i = int(rng.integers(len(self.data.wider)))
            image, boxes = self.image(self.data.wider.files[i]), self.data.wider.boxes[i]
            region = augment.random_region(rng, image)
            half = region.side * 0.5
            corners = np.array([region.x - half, region.y - half, region.x + half, region.y + half])
            overlap = np.minimum(boxes[:, 2:], corners[2:]) - np.maximum(boxes[:, :2], corners[:2])
            if not (overlap > 0).all(axis=1).any():
                return image, region
        return self._background(rng)

    def _misplaced(self, rng: Generator) -> tuple[Image, Region]:
        chosen = self.data.faces[int(rng.integers(len(self.data.faces)))]
        i = int(rng.integers(len(chosen)))
        image = self.image(chosen.files[i])
        region = region_of_points(extent(chosen, i), margin=self.margin)
        direction, draw = rng.uniform(0, 2 * np.pi), rng.random()
        if draw < 0.6:  # beside the face
            far = rng.uniform(0.7, 1.1) * region.side
            x, y = region.x + np.cos(direction) * far, region.y + np.sin(direction) * far
            return image, Region(x, y, region.side * float(np.exp(rng.normal(0, 0.2))), region.angle)
        if draw < 0.8:  # a detail of the face
            far = rng.uniform(0, 0.35) * region.side
            x, y = region.x + np.cos(direction) * far, region.y + np.sin(direction) * far
            return image, Region(x, y, region.side * rng.uniform(0.15, 0.33), region.angle)
        return image, Region(region.x, region.y, region.side * rng.uniform(3.2, 5), region.angle)  # far too wide


def extent(data: LandmarkSet, face: int) -> FloatArray:
    """Return points (k,2) that span a face: those annotated, or the corners of its box below the forehead."""
    if data.boxes is None:
        return annotated(data.points[face])
    x0, y0, x1, y1 = data.boxes[face].tolist()
    return np.array([[x0, y0 + (y1 - y0) * FOREHEAD / (1 + FOREHEAD)], [x1, y1]], np.float32)


def _visibility(data: LandmarkSet, face: int) -> NDArray[np.int64]:
    """Return the visibility (n,) of each landmark of a face."""
    if data.visible is None or data.name not in TELLS_VISIBILITY:
        return np.full(data.points.shape[1], UNKNOWN, np.int64)
    return np.where(
        np.isnan(data.points[face, :, 0]), SELF_OCCLUDED, np.where(data.visible[face] > 0, VISIBLE, OCCLUDED)
    )


def annotated(points: FloatArray) -> FloatArray:
    """Return the annotated points (k,2)."""
    return points[~np.isnan(points[:, 0])]


def face_angle(points: FloatArray) -> float:
    """Return the roll of a face in radians; 0 if a landmark of the eyes or mouth is not annotated."""
    known = np.isfinite(points)
    if known.all():
        return roll(points, IBUG_68)
    return roll(np.where(known, points, 0), IBUG_68) if known[_OF_ROLL].all() else 0.0


def collate_crops(items: Sequence[Labels]) -> dict[str, Tensor]:
    """Stack crops with their labels into a batch."""
    images = batch_of_pixels([item["image"] for item in items])
    others = [{name: value for name, value in item.items() if name != "image"} for item in items]
    batch: dict[str, Tensor] = default_collate(others)
    return {"image": images, **batch}


def as_item(crop: _Crop) -> Item:
    """Convert arrays to tensors; landmarks without annotation become zeros with weight 0."""
    count = IBUG_68.count
    points = np.full((count, 2), np.nan, np.float32) if crop.points is None else crop.points
    unknown = np.isnan(points[:, 0])
    weight = SET_WEIGHT.get(crop.set_name, 0.0)
    corrected = np.zeros((2, 2), np.float32) if crop.corrected is None else crop.corrected
    seen = np.full(count, UNKNOWN, np.int64) if crop.visibility is None else crop.visibility
    hidden = unknown & (weight > 0) & (crop.set_name in TELLS_VISIBILITY)
    return {
        "image": pixels_of(crop.image),
        "points": torch.from_numpy(np.where(unknown[:, None], np.float32(0), points)),
        "known": torch.from_numpy(np.where(unknown, 0, weight).astype(np.float32)),
        "hidden": torch.from_numpy(hidden.astype(np.float32)),
        "visibility": torch.from_numpy(seen),
        "presence": torch.tensor(float(crop.present)),
        "corrected": torch.from_numpy(corrected),
        "set": torch.tensor(CORRECTED.index(crop.set_name) if crop.set_name in CORRECTED else 0),
    }
