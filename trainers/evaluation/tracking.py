"""Evaluation of networks on labelled sets through the tracker's own detector and aligner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...engines.closing import Closing
from ...engines.runtime import Runtime
from ...engines.spec import Outputs, Spec
from ...realtime.faces.face import Face
from ...realtime.faces.frame import Frame
from ...realtime.images.pixels import Pixels, pixels_of
from ...realtime.tracking.aligner import Aligner
from ...realtime.tracking.detector import Detections, Detector
from ...realtime.tracking.tracker import Tracker
from ...realtime.values.arrays import FloatArray
from ...realtime.values.geometry import box_of, iou, region_of_points
from ..data import (
    DetectionSet,
    LandmarkSet,
    read_300w,
    read_aflw68,
    read_image,
    read_negatives,
    read_wider,
    read_ytf68,
)
from ..data.augment import random_region
from ..data.faults import image_sizes
from ..data.masks import face_images
from ..learner import device_of
from ..metrics import (
    YAW_BANDS,
    Found,
    area_under_curve,
    average_precision,
    box_size,
    failure_rate,
    inter_ocular,
    nme,
    point_errors,
    recall_at,
    roc_auc,
)

FOUND_OVERLAP = 0.4  # IoU of the boxes around the landmarks below which the labelled face counts as missed
SMALLEST_FACE = 24.0  # pixels of the shorter side; smaller faces are ignored, as in data/README
OWN_SIZE = 1 << 14  # detector size larger than every image of the sets, so that none is downscaled
LOWEST_SCORE = 0.02
_BATCH = 16  # images of one size that go through the detector at once

Item = TypeVar("Item")
Watch = Callable[[str, int, int], None]
"""Function that shows progress: it is called with the name of the work, the number of steps done, and their total."""


def unwatched(name: str, done: int, total: int) -> None:
    """Show nothing: the default ``Watch``."""


def watched(items: Iterable[Item], name: str, total: int, watch: Watch) -> Iterator[Item]:
    """Yield ``items``, and report each to ``watch``."""
    for done, item in enumerate(items, 1):
        watch(name, done, total)
        yield item


class ModuleRuntime(Closing):
    """Adapter of a torch module in training to the interface of ``engines.runtime.Runtime``.

    With it, validation runs the tracker's own detector and aligner.
    """

    provider, threads, reason = "torch", 0, "a module in training"

    def __init__(self, module: nn.Module, spec: Spec) -> None:
        """Wrap ``module``, an export wrapper with the inputs and outputs that ``spec`` describes."""
        self.module, self.spec = module.eval(), spec
        self.device = str(device_of(module))

    @torch.no_grad()
    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run the module on images (B,3,H,W)."""
        out = self.module(torch.from_numpy(images).to(device_of(self.module)))
        return {name: value.cpu().numpy() for name, value in out.items()}

    def close(self) -> None:
        """No-op: there are no resources to free."""


def detect_faces(
    runtime: Runtime, data: DetectionSet, *, size: int | None = OWN_SIZE, watch: Watch = unwatched
) -> list[Found]:
    """Return detections and truth of every image; ``size`` is the detector's longest side, None its default."""
    results = []
    detected = _detected(runtime, data.files, "wider", size, watch)
    for seen, truth, invalid in zip(detected, data.boxes, data.invalid, strict=True):
        small = (truth[:, 2:] - truth[:, :2]).min(axis=1) < SMALLEST_FACE if len(truth) else np.zeros(0, bool)
        results.append(Found(seen.boxes, seen.scores, truth, small | invalid))
    return results


def _detected(runtime: Runtime, files: Sequence[Path], name: str, size: int | None, watch: Watch) -> list[Detections]:
    """Return the detections in each image; images of one size go through the network in batches."""
    detector = Detector(runtime, size=size, threshold=LOWEST_SCORE)
    sizes = image_sizes(files).tolist()
    order = sorted(range(len(files)), key=sizes.__getitem__)
    found: dict[int, Detections] = {}
    kept: list[int] = []
    images: list[Pixels] = []
    for place, i in enumerate(watched(order, name, len(order), watch), 1):
        kept.append(i)
        images.append(pixels_of(read_image(files[i])))
        if len(kept) == _BATCH or place == len(order) or sizes[order[place]] != sizes[i]:
            found |= zip(kept, detector.detect_all(images), strict=True)
            kept, images = [], []
    return [found[i] for i in range(len(files))]


def highest_scores(
    runtime: Runtime, files: Sequence[Path], *, size: int | None = OWN_SIZE, watch: Watch = unwatched
) -> FloatArray:
    """Return the highest detection score (N,) of each image, 0 where there is no detection."""
    detected = _detected(runtime, files, "negatives", size, watch)
    return np.array([max(seen.scores, default=0.0) for seen in detected], np.float32)


@dataclass(frozen=True, slots=True)
class Located:
    """Landmarks found on a labelled set with one face per image.

    Attributes:
        points: (N, n, 2) float32, in pixels of each image; NaN where the face was not found.
        confidence: (N, n) float32; NaN where the face was not found.
    """

    points: FloatArray
    confidence: FloatArray

    @property
    def found(self) -> NDArray[np.bool_]:
        """Mask (N,), True where the labelled face was found."""
        return ~np.isnan(self.points[:, 0, 0])


def locate(tracker: Tracker, data: LandmarkSet, *, masks: bool = False, watch: Watch = unwatched) -> Located:
    """Track each image as a video of one frame and return the landmarks of the labelled face.

    The labelled face is the tracked face with the highest IoU of the boxes around the landmarks. If that IoU is below
    ``FOUND_OVERLAP``, the labelled face counts as missed. With ``masks`` the labelled faces wear synthetic masks.
    """
    count = data.points.shape[1]
    points = np.full((len(data), count, 2), np.nan, np.float32)
    confidence = np.full((len(data), count), np.nan, np.float32)
    for i, image in enumerate(watched(face_images(data, masks=masks), data.name, len(data), watch)):
        tracker.reset()
        if face := face_at(tracker.update(Frame(image, 0.0, 0)), data.points[i]):
            points[i], confidence[i] = face.landmarks, face.confidence
    return Located(points, confidence)


def face_at(faces: Sequence[Face], points: FloatArray) -> Face | None:
    """Return the face with the highest IoU with the box around ``points`` (n, 2); None below ``FOUND_OVERLAP``."""
    truth = box_of(points[~np.isnan(points[:, 0])])
    overlaps = [float(iou(box_of(face.landmarks)[None], truth[None])[0, 0]) for face in faces]
    return faces[int(np.argmax(overlaps))] if overlaps and max(overlaps) >= FOUND_OVERLAP else None


def score(errors: FloatArray) -> dict[str, float]:
    """Return the figures of one set from errors (N, n), with NaN rows where the face was missed.

    ``nme_percent`` is the mean over the faces found; failure rate and AUC count every missed face as a failure.
    """
    missed = np.isnan(errors).all(axis=1)
    each = np.full(len(errors), np.nan, np.float32)
    each[~missed] = nme(errors[~missed])
    return {
        "faces": len(errors),
        "found_percent": _percent(float((~missed).mean())),
        "nme_percent": _percent(float(each[~missed].mean())) if not missed.all() else float("nan"),
        "failure_percent": _percent(failure_rate(each)),
        "auc_10_percent": _percent(area_under_curve(each)),
    }


def _percent(part: float) -> float:
    return round(100 * part, 3)


def constant_offset(located: Located, data: LandmarkSet) -> FloatArray:
    """Return the mean of prediction minus label per landmark (n, 2) over the faces found, in inter-ocular distances."""
    found = located.found
    norm = inter_ocular(data.points[found])[:, None, None]
    offset: FloatArray = np.mean((located.points[found] - data.points[found]) / norm, axis=0)
    return offset


def evaluate_300w(tracker: Tracker, root: Path, watch: Watch = unwatched) -> dict[str, Any]:
    """Evaluate on HELEN's test part of 300W, inter-ocular, with the AUC of confidence for errors above 10 %."""
    data = read_300w(root, test=True)
    located = locate(tracker, data, watch=watch)
    errors = point_errors(located.points, data.points, inter_ocular(data.points))
    return {**score(errors), "confidence_auc": confidence_auc(located, errors)}


def evaluate_ytf68(tracker: Tracker, root: Path, watch: Watch = unwatched) -> dict[str, Any]:
    """Evaluate on YouTube Faces, raw and corrected by a constant offset per landmark.

    The offset is measured on a third of the training part. Confidence is compared with the corrected errors, because a
    constant difference between labelling conventions is not an error of the network.
    """
    data, training = read_ytf68(root, test=True), read_ytf68(root)
    training = training.pick(range(0, len(training), 3))
    offset = constant_offset(locate(tracker, training, watch=watch), training)
    located, norm = locate(tracker, data, watch=watch), inter_ocular(data.points)
    corrected = located.points - offset * norm[:, None, None]
    errors = point_errors(corrected, data.points, norm)
    return {
        **score(point_errors(located.points, data.points, norm)),
        "corrected": score(errors),
        "confidence_auc": confidence_auc(located, errors),
    }


def evaluate_aflw68(tracker: Tracker, root: Path, watch: Watch = unwatched) -> dict[str, Any]:
    """Evaluate on AFLW with MERL-RAV landmarks, normalised by box size, in all and per band of yaw.

    Box size and errors are over the annotated landmarks.
    """
    data = read_aflw68(root, test=True)
    located = locate(tracker, data, watch=watch)
    errors = point_errors(located.points, data.points, box_size(data.points))
    yaw = np.abs(data.yaw)
    bands = {f"yaw_{low:.0f}": score(errors[(yaw >= low) & (yaw < high)]) for low, high in YAW_BANDS}
    return {**score(errors), **bands, "confidence_auc": confidence_auc(located, errors)}


def confidence_auc(located: Located, errors: FloatArray, *, threshold: float = 0.1) -> float | None:
    """Return the AUC of low confidence as a predictor of a landmark error above ``threshold``.

    Returns None if no error, or every error, is above it.
    """
    known = ~np.isnan(errors)
    wrong = errors[known] > threshold
    return round(roc_auc(-located.confidence[known], wrong), 4) if wrong.any() and not wrong.all() else None


def presence_auc(runtime: Runtime, root: Path, watch: Watch = unwatched) -> dict[str, float]:
    """Return the AUC of the score: labelled faces of all test sets against random squares of images without a face."""
    aligner, rng = Aligner(runtime), np.random.default_rng(0)
    present, absent = [], []
    for data in (read_300w(root, test=True), read_ytf68(root, test=True), read_aflw68(root, test=True)):
        for file, points in watched(zip(data.files, data.points, strict=True), data.name, len(data), watch):
            region = region_of_points(points[~np.isnan(points[:, 0])], margin=runtime.spec.crop_margin)
            present.append(aligner.align(read_image(file), [region]).scores[0])
    files = read_negatives(root, test=True)
    for file in watched(files, "negatives", len(files), watch):
        image = read_image(file)
        absent += list(aligner.align(image, [random_region(rng, image) for _ in range(5)]).scores)
    scores, threshold = np.array(present + absent), runtime.spec.threshold
    labels = np.arange(len(scores)) < len(present)
    return {
        "auc": round(roc_auc(scores, labels), 5),
        "faces_kept_percent": _percent(float((scores[labels] >= threshold).mean())),
        "background_kept_percent": _percent(float((scores[~labels] >= threshold).mean())),
    }


def evaluate_negatives(tracker: Tracker, root: Path, watch: Watch = unwatched) -> dict[str, Any]:
    """Count the images without a face in which the tracker (detector and score together) reports a face."""
    files = read_negatives(root, test=True)
    alarms = 0
    for file in watched(files, "negatives", len(files), watch):
        tracker.reset()
        alarms += bool(tracker.update(Frame(read_image(file), 0.0, 0)))
    return {"faceless_images": len(files), "with_a_tracked_face": alarms}


def evaluate_detector(runtime: Runtime, root: Path, watch: Watch = unwatched) -> dict[str, Any]:
    """Evaluate on WIDER's test part at the images' own size and at the default size.

    Includes false alarms on images without a face.
    """
    data, negatives = read_wider(root, test=True), read_negatives(root, test=True)
    figures: dict[str, Any] = {"threshold": runtime.spec.threshold, "images": len(data)}
    for name, size in (("own_size", OWN_SIZE), (f"longest_side_{max(runtime.spec.size)}", None)):
        results = detect_faces(runtime, data, size=size, watch=watch)
        alarms = highest_scores(runtime, negatives, size=size, watch=watch) >= runtime.spec.threshold
        figures[name] = {
            "faces": sum(int((~found.ignore).sum()) for found in results),
            "average_precision": round(average_precision(results), 4),
            "recall": round(recall_at(results, runtime.spec.threshold), 4),
            "images_with_false_alarm": int(alarms.sum()),
            "faceless_images": len(alarms),
        }
    return figures
