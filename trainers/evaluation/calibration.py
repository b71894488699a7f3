"""Calibration of a landmark network's score: the probability that the landmarks of a crop are right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.optimize import minimize

from ...engines.spec import Spec
from ...realtime.tracking.aligner import Aligner
from ...realtime.tracking.score import Weights, calibrated, features
from ...realtime.values.arrays import FloatArray
from ...realtime.values.geometry import Region, box_of, region_of_points, roll
from ..data import DataError, LandmarkSet, read_image
from ..data.augment import displaced
from ..data.covers import cover_face
from ..metrics import roc_auc

RIGHT = 0.1  # mean error, over the distance between the outer eye corners, up to which landmarks are right
EYES_OF_BOX = 0.62  # that distance over the square root of the box's area, the mean of 300W; for faces in profile
FACES = 150  # maximum number of faces of each set
COVERED = 2  # crops of each face in which a part of it is covered
LEAST = 40  # minimum number of labelled landmarks of a face
KEPT = 0.995  # share of the right landmarks that the threshold keeps
BINS = 10


@dataclass(frozen=True, slots=True)
class Crops:
    """Outputs of the network for crops, and a label that tells whether the landmarks are right.

    Attributes:
        confidence: (k,) mean confidence of the landmarks.
        presence: (k,) probability of a face.
        right: (k,) True where the mean error is at most ``RIGHT``.
        covered: (k,) True where a part of the face is covered.
    """

    confidence: FloatArray
    presence: FloatArray
    right: NDArray[np.bool_]
    covered: NDArray[np.bool_]

    def part(self, chosen: NDArray[np.bool_]) -> Crops:
        """Return the chosen crops."""
        return Crops(self.confidence[chosen], self.presence[chosen], self.right[chosen], self.covered[chosen])


def crops_of(aligner: Aligner, sets: Sequence[LandmarkSet], *, seed: int = 0) -> Crops:
    """Align nine crops of each of some faces.

    Three are as in tracking, two are as well but with a hand, a mask or an object over the face, and four are rotated,
    moved or of wrong size.

    Args:
        aligner: aligner of a network whose spec has no ``score``, so that its scores are its presence.
        sets: labelled faces; those of another number of landmarks are left out.
        seed: seed of the choice of faces and crops.

    Raises:
        DataError: no face has enough labelled landmarks of the network's scheme, or all landmarks are right or none.
    """
    rng = np.random.default_rng(seed)
    seen: list[tuple[float, float, float, bool]] = []
    for data in sets:
        if data.points.shape[1] != aligner.landmarks:
            continue
        for face in rng.permutation(len(data))[:FACES].tolist():
            points = data.points[face]
            labelled = ~np.isnan(points[:, 0])
            if labelled.sum() < min(LEAST, aligner.landmarks):
                continue
            angle = roll(points, data.scheme) if labelled.all() else 0.0
            upright = region_of_points(points[labelled], margin=1.2, angle=angle)
            size, image = _eye_distance(points, labelled, data), read_image(data.files[face])
            parts = [(image, list(_regions(rng, upright)), False)]
            parts += [
                (cover_face(rng, image, points, data.scheme), [_tracked(rng, upright)], True) for _ in range(COVERED)
            ]
            for shown, regions, covered in parts:
                found = aligner.align(shown, regions)
                for i, landmarks in enumerate(found.points):
                    error = float(np.hypot(*(landmarks - points)[labelled].T).mean()) / size
                    seen.append((float(found.confidence[i].mean()), float(found.scores[i]), error, covered))
    if not seen:
        raise DataError(f"no face has {LEAST} labelled landmarks of a scheme with {aligner.landmarks}")
    confidence, presence, errors, covers = np.array(seen, np.float32).T
    right = errors <= RIGHT
    if right.all() or not right.any():
        raise DataError(
            f"the landmarks of {'all' if right.all() else 'none'} of {len(right)} crops are right; the score needs "
            "both kinds: see whether the network fits the data"
        )
    return Crops(confidence, presence, right, covers > 0)


def _regions(rng: Generator, upright: Region) -> Iterator[Region]:
    """Yield three regions as in tracking, one upside down, one rotated, one moved and one of another size."""
    for _ in range(3):
        shift = rng.normal(0, 0.04, 2)
        yield displaced(upright, *shift, scale=math.exp(rng.normal(0, 0.06)), rotation=rng.normal(0, 0.1))
    yield displaced(upright, rotation=math.pi)
    yield displaced(upright, rotation=rng.choice([-1, 1]) * rng.uniform(0.6, 2.4))
    direction, distance = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 0.6)
    yield displaced(upright, distance * math.cos(direction), distance * math.sin(direction))
    yield displaced(upright, scale=rng.choice([0.5, 0.65, 1.6, 2.2]))


def _tracked(rng: Generator, upright: Region) -> Region:
    """Return a region with errors as in tracking."""
    x, y = rng.normal(0, 0.04, 2) * upright.side
    side, angle = upright.side * math.exp(rng.normal(0, 0.06)), upright.angle + rng.normal(0, 0.1)
    return Region(upright.x + x, upright.y + y, side, angle)


def _eye_distance(points: FloatArray, labelled: NDArray[np.bool_], data: LandmarkSet) -> float:
    """Return the distance between the outer eye corners in pixels, estimated from the box for a face in profile."""
    x0, y0, x1, y1 = box_of(points[labelled]).tolist()
    by_box = EYES_OF_BOX * math.sqrt((x1 - x0) * (y1 - y0))
    corners = list(data.scheme.outer_corners)
    if not labelled[corners].all():
        return by_box
    left, right = points[corners]
    return max(float(np.hypot(*(left - right))), by_box)


def calibrate(spec: Spec, crops: Crops) -> tuple[Spec, dict[str, Any]]:
    """Fit the score on a random half of the crops and measure it on the others.

    The score is a logistic regression on the logits of mean confidence and presence.

    Returns:
        The spec with ``score`` and with the ``threshold`` that keeps ``KEPT`` of the right landmarks; and the figures:
        AUC of score, confidence and presence, shares of right and wrong landmarks kept, of all crops and of those with
        a covered face, and the calibration curve.
    """
    chosen = np.random.default_rng(0).random(len(crops.right)) < 0.5
    fitted, held = crops.part(chosen), crops.part(~chosen)
    weights = _fit(fitted)
    scores = calibrated(weights, fitted.confidence, fitted.presence)
    threshold = math.floor(1000 * float(np.quantile(scores[fitted.right], 1 - KEPT))) / 1000
    scores = calibrated(weights, held.confidence, held.presence)
    kept = scores >= threshold
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    return replace(spec, score=weights, threshold=threshold), {
        "crops": len(held.right),
        "right_percent": _percent(held.right),
        "auc": {
            "score": round(roc_auc(scores, held.right), 4),
            "confidence": round(roc_auc(held.confidence, held.right), 4),
            "presence": round(roc_auc(held.presence, held.right), 4),
        },
        "threshold": threshold,
        "right_kept_percent": _percent(kept[held.right]),
        "wrong_kept_percent": _percent(kept[~held.right]),
        "covered": {
            "crops": int(held.covered.sum()),
            "right_percent": _percent(held.right[held.covered]),
            "right_kept_percent": _percent(kept[held.covered & held.right]),
            "wrong_kept_percent": _percent(kept[held.covered & ~held.right]),
        },
        "curve": [
            {
                "crops": int((bins == i).sum()),
                "score": round(float(scores[bins == i].mean()), 3),
                "right": round(float(held.right[bins == i].mean()), 3),
            }
            for i in range(BINS)
            if (bins == i).any()
        ],
    }


def _percent(shares: NDArray[np.bool_]) -> float | None:
    return round(100 * float(shares.mean()), 2) if len(shares) else None


def _fit(crops: Crops) -> Weights:
    """Return offset and weights of the logits of confidence and presence, by maximum likelihood."""
    columns = features(crops.confidence, crops.presence).astype(np.float64)

    def loss(weights: NDArray[np.float64]) -> float:
        logits = columns @ weights
        return float((np.logaddexp(0, logits) - crops.right * logits).mean())

    offset, confidence, presence = minimize(loss, np.zeros(3)).x.round(3).tolist()
    return offset, confidence, presence
