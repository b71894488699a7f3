"""Evaluation on faces that are held out of the training sets: babies, close-ups, and regions that are off.

No test set covers these. The images are those of ``TrainingData.read(root)[1]``, which no training of ours sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...realtime.faces.frame import Frame
from ...realtime.tracking.aligner import Aligner
from ...realtime.tracking.tracker import Tracker
from ...realtime.values.arrays import FloatArray, Image
from ...realtime.values.geometry import region_of_points, transform
from ..data import LandmarkSet, TrainingData, read_image
from ..data.augment import displaced
from ..metrics import box_size, inter_ocular, point_errors
from .tracking import Watch, face_at, score, unwatched, watched

ANGLES = range(0, 360, 30)
"""In-plane rotations in degrees at which babies are shown."""
SHARES = (0.5, 0.64, 0.78, 0.92, 1.06, 1.2)
"""Longer side of the landmarks' bounding box over the side of the image, for close-ups."""
CLOSE_UP = 384
"""Side of a close-up in pixels."""
SHIFTS = (-0.1, 0.0, 0.1)
"""Displacements in x and y, and changes of scale, of a region, as fractions of its side."""

LOOKS = ("at_once", "second_look", "third_look")

Views = Iterator[tuple[Image, FloatArray]]


def evaluate_infants(tracker: Tracker, root: Path, watch: Watch = unwatched) -> dict[str, Any]:
    """Evaluate on held-out babies, each rotated in the image plane by all ``ANGLES``; inter-ocular."""
    data = _held_out(root, "infants")
    return _evaluated(tracker, data, rotated, inter_ocular, watch)


def evaluate_close_ups(tracker: Tracker, root: Path, watch: Watch = unwatched) -> dict[str, Any]:
    """Evaluate on square cut-outs of held-out images, with the face at all ``SHARES`` of the side; by box size."""
    parts = {name: _held_out(root, name) for name in ("300w", "aflw68-context")}
    return {name: _evaluated(tracker, data, cut_out, box_size, watch) for name, data in parts.items()}


def evaluate_shifted_regions(aligner: Aligner, margin: float, root: Path, watch: Watch = unwatched) -> dict[str, Any]:
    """Return the movement of the landmarks of held-out 300W faces if their regions are moved and scaled by ±10 %.

    Movement is the mean distance to the landmarks of the exact region, in percent of the inter-ocular distance: of the
    landmarks found in the moved region, and of those found in a second look, in the region around them, as the tracker
    takes one where a face has moved.
    """
    data = _held_out(root, "300w")
    movements = []
    for file, points in watched(zip(data.files, data.points, strict=True), data.name, len(data), watch):
        image, exact = read_image(file), region_of_points(points, margin=margin)
        regions = [
            exact,
            *(displaced(exact, x, y, scale=1 + z) for x, y, z in product(SHIFTS, repeat=3) if x or y or z),
        ]
        for _ in LOOKS:
            found = aligner.align(image, regions)
            moved = np.linalg.norm(found.points[1:] - found.points[0], axis=2).mean(axis=1)
            movements.append(moved / inter_ocular(points[None])[0])
            regions = list(found.regions)
    each = 100 * np.stack(movements).reshape(len(data), len(LOOKS), -1)
    return {
        "faces": len(data),
        "regions": each[:, 0].size,
        **{f"movement_{look}_percent": round(float(each[:, k].mean()), 3) for k, look in enumerate(LOOKS)},
    }


def _held_out(root: Path, name: str) -> LandmarkSet:
    return next(data for data in TrainingData.read(root)[1].faces if data.name == name)


def _evaluated(
    tracker: Tracker,
    data: LandmarkSet,
    views: Callable[[Image, FloatArray], Views],
    size_of: Callable[[FloatArray], FloatArray],
    watch: Watch,
) -> dict[str, Any]:
    """Return the figures over all views of a set, and per view the percentage of faces not found."""
    found, truth = [], []
    for file, points in watched(zip(data.files, data.points, strict=True), data.name, len(data), watch):
        for image, shown in views(read_image(file), points):
            tracker.reset()
            face = face_at(tracker.update(Frame(image, 0.0, 0)), shown)
            found.append(np.full(shown.shape, np.nan, np.float32) if face is None else np.asarray(face.landmarks))
            truth.append(shown)
    at = np.stack(truth)
    errors = point_errors(np.stack(found), at, size_of(at))
    missed = np.isnan(errors).all(axis=1).reshape(len(data), -1).mean(axis=0)
    figures = score(errors)
    return {
        **figures,
        "not_found_percent": round(100 - figures["found_percent"], 3),
        "not_found_by_view_percent": (100 * missed).round(2).tolist(),
    }


def rotated(image: Image, points: FloatArray) -> Views:
    """Yield the image rotated about the face, on a canvas that holds all of it."""
    height, width = image.shape[:2]
    side = int(np.ceil(np.hypot(height, width)))
    for angle in ANGLES:
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1).astype(np.float32)
        matrix[:, 2] += (side - width) / 2, (side - height) / 2
        yield np.asarray(cv2.warpAffine(image, matrix, (side, side)), np.uint8), transform(points, matrix)


def cut_out(image: Image, points: FloatArray) -> Views:
    """Yield squares of ``CLOSE_UP`` pixels around the face. Beyond the image, its border is repeated."""
    known = points[~np.isnan(points[:, 0])]
    low, high = known.min(axis=0), known.max(axis=0)
    for share in SHARES:
        scale = share * CLOSE_UP / float((high - low).max())
        matrix = np.array([[scale, 0, 0], [0, scale, 0]], np.float32)
        matrix[:, 2] = (CLOSE_UP - 1) / 2 - scale * (low + high) / 2
        border = cv2.BORDER_REPLICATE
        shown = cv2.warpAffine(image, matrix, (CLOSE_UP, CLOSE_UP), flags=cv2.INTER_AREA, borderMode=border)
        yield np.asarray(shown, np.uint8), transform(points, matrix)
