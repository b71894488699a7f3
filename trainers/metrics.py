"""How results are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..realtime.faces import IBUG_68, FloatArray
from ..realtime.geometry import iou

YAW_BANDS = ((0.0, 20.0), (20.0, 45.0), (45.0, 75.0), (75.0, 181.0))


def point_errors(predicted: FloatArray, truth: FloatArray, norm: FloatArray) -> FloatArray:
    """Euclidean error of each point over each face's ``norm`` (N,): (N, n), NaN where not annotated."""
    errors: FloatArray = np.linalg.norm(predicted - truth, axis=2) / norm[:, None]
    return errors


def nme(errors: FloatArray) -> FloatArray:
    """Normalised mean error per face (N,): the mean over its annotated points."""
    mean: FloatArray = np.nanmean(errors, axis=1)
    return mean


def inter_ocular(points: FloatArray) -> FloatArray:
    """Distance of the outer eye corners (N,) of points (N, 68, 2) (300W's norm, points 36 and 45)."""
    a, b = IBUG_68.outer_corners
    distance: FloatArray = np.linalg.norm(points[:, a] - points[:, b], axis=1)
    return distance


def box_size(points: FloatArray) -> FloatArray:
    """Square root of width times height of the box of annotated points (N,) (AFLW's norm)."""
    extent = np.nanmax(points, axis=1) - np.nanmin(points, axis=1)
    size: FloatArray = np.sqrt(extent.prod(axis=1))
    return size


def failure_rate(errors: FloatArray, *, threshold: float = 0.1) -> float:
    """Share of faces (N,) whose NME lies above ``threshold``; NaN, a face not found, counts as a failure."""
    return float(np.mean(~(errors <= threshold)))


def area_under_curve(errors: FloatArray, *, threshold: float = 0.1) -> float:
    """Area under the cumulative error curve up to ``threshold``, over ``threshold`` (AUC, 0..1).

    A face that was not found (NaN) counts as an error beyond the threshold.
    """
    below = np.where(errors <= threshold, threshold - errors, 0.0)
    return float(below.mean() / threshold)


def roc_auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, ties counting half.

    Raises:
        ValueError: there is no positive or no negative.
    """
    count, total = int(positive.sum()), len(positive)
    if count in (0, total):
        raise ValueError(f"AUC needs both kinds, given {count} positive of {total}")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (total - count)))


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector said of one picture and what is true of it.

    Attributes:
        boxes, scores: (n, 4) and (n,) detections.
        truth: (k, 4) annotated boxes.
        ignore: (k,) boxes that count neither as found nor as missed.
    """

    boxes: FloatArray
    scores: FloatArray
    truth: FloatArray
    ignore: NDArray[np.bool_]


def match(found: Found, *, overlap: float = 0.5) -> NDArray[np.int8]:
    """For each detection, best score first: 1 true, 0 false, -1 falls on an ignored box. Result (n,) in that order."""
    order = np.argsort(-found.scores, kind="stable")
    table = iou(found.boxes[order], found.truth)
    taken = np.zeros(len(found.truth), bool)
    verdict = np.zeros(len(order), np.int8)
    for i, row in enumerate(table):
        open_row = np.where(taken | found.ignore, 0, row)
        best = int(open_row.argmax()) if len(row) else -1
        if best >= 0 and open_row[best] >= overlap:
            taken[best], verdict[i] = True, 1
        elif len(row) and np.where(found.ignore, row, 0).max() >= overlap:
            verdict[i] = -1
    return verdict


def average_precision(results: Sequence[Found], *, overlap: float = 0.5) -> float:
    """Area under the precision-recall curve over all pictures, precision made monotone (VOC 2010 and later)."""
    verdicts = np.concatenate([match(found, overlap=overlap) for found in results])
    scores = np.concatenate([np.sort(found.scores)[::-1] for found in results])
    truths = sum(int((~found.ignore).sum()) for found in results)
    kept = verdicts >= 0
    hits = verdicts[kept][np.argsort(-scores[kept], kind="stable")] == 1
    if not truths or not len(hits):
        return 0.0
    recall = np.cumsum(hits) / truths
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def recall_at(results: Sequence[Found], threshold: float, *, overlap: float = 0.5) -> float:
    """Share of annotated faces found by detections scoring at least ``threshold``."""
    hits = truths = 0
    for found in results:
        keep = found.scores >= threshold
        kept = Found(found.boxes[keep], found.scores[keep], found.truth, found.ignore)
        hits += int((match(kept, overlap=overlap) == 1).sum())
        truths += int((~found.ignore).sum())
    return hits / truths if truths else 0.0
