"""Metrics of landmarks, confidence and detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..engines.errors import NasionError
from ..realtime.values.arrays import FloatArray
from ..realtime.values.geometry import iou
from ..realtime.values.scheme import LandmarkScheme
from ..realtime.values.schemes import USUAL
from .figures import save_figure

Norm = Literal["io", "ip", "box", "diag", "tight-box", "tight-diag"]
"""Length that normalises errors: the distance of the outer eye corners (``io``) or of the pupils (``ip``); the square
root of the area (``box``) or the diagonal (``diag``) of the box that comes with the set; or both of the tight box
around the landmarks (``tight-box``, ``tight-diag``)."""

NORMS: tuple[Norm, ...] = get_args(Norm)
BY_FACE_SIZE = (19, 21)
"""AFLW's numbers of landmarks. Its errors are normalised by face size, since eye corners may coincide in profile."""
YAW_BANDS = ((0.0, 20.0), (20.0, 45.0), (45.0, 75.0), (75.0, 181.0))


class MetricError(NasionError):
    """Error in measuring or drawing results."""


# --- landmarks


def point_errors(predicted: FloatArray, truth: FloatArray, norm: FloatArray) -> FloatArray:
    """Return the Euclidean error (N, n) of each landmark over ``norm`` (N,) of its face; NaN where not annotated."""
    errors: FloatArray = np.linalg.norm(predicted - truth, axis=2) / norm[:, None]
    return errors


def nme(errors: FloatArray) -> FloatArray:
    """Return the normalised mean error (NME) per face (N,): the mean over its annotated landmarks."""
    mean: FloatArray = np.nanmean(errors, axis=1)
    return mean


def lengths(points: FloatArray, norm: Norm, boxes: FloatArray | None = None) -> FloatArray:
    """Return the length (N,), in pixels, that normalises the errors of each face.

    Args:
        points: (N, n, 2) annotated landmarks, NaN where not annotated.
        norm: the kind of length.
        boxes: (N, 4) x0, y0, x1, y1 for ``box`` and ``diag``; None: the tight box around the annotated landmarks.

    Returns:
        (N,); NaN for a face without a landmark that the length needs.

    Raises:
        MetricError: no scheme has that many landmarks, so the eyes are unknown.
    """
    if norm in ("io", "ip"):
        return inter_ocular(points) if norm == "io" else inter_pupil(points)
    given = None if norm.startswith("tight") else boxes
    extent = _points_extent(points) if given is None else _extent(given)
    size: FloatArray = extent.prod(axis=1) ** 0.5 if norm.endswith("box") else np.hypot(extent[:, 0], extent[:, 1])
    return size


def usual_norm(points: FloatArray, boxes: FloatArray | None = None) -> Norm:
    """Return the default normalisation: by the distance of the outer eye corners, or by the box (see ``BY_FACE_SIZE``).

    The box is also used if a face lacks a corner or its corners coincide. If a box has no area, the tight box around
    the landmarks is used, then the diagonal of the tight box.

    Args:
        points: (N, n, 2) annotated landmarks, NaN where not annotated.
        boxes: (N, 4), see ``lengths``.

    Raises:
        MetricError: a face has no size by any of these.
    """
    count = points.shape[1]
    norms: tuple[Norm, ...] = ("box", "tight-box", "tight-diag")
    if count in USUAL and count not in BY_FACE_SIZE:
        norms = ("io", *norms)
    for norm in norms:
        size = lengths(points, norm, boxes)
        if (size > 0).all():
            return norm
    raise MetricError(
        f"the landmarks of face {int(np.argmin(size > 0)) + 1} coincide, so the face has no size to divide by"
    )


def usual_lengths(points: FloatArray) -> FloatArray:
    """Return the length (N,) that normalises errors in validation: ``lengths`` by ``usual_norm``."""
    return lengths(points, usual_norm(points))


def scheme_lengths(points: FloatArray, scheme: LandmarkScheme) -> FloatArray:
    """Return the length (N,) that divides the errors of faces, as their scheme names it (``LandmarkScheme.norm``).

    Where its landmarks are not annotated or coincide, it is the size of the face.

    Args:
        points: (N, n, 2) annotated landmarks, NaN where not annotated.
        scheme: their scheme.
    """
    size = box_size(points)
    if scheme.norm == "box":
        return size
    groups = scheme.pupils if scheme.norm == "pupils" else tuple((corner,) for corner in scheme.outer_corners)
    a, b = (points[:, list(group)].mean(axis=1) for group in groups)
    distance = np.linalg.norm(a - b, axis=1)
    length: FloatArray = np.where(distance > 0, distance, size)
    return length


def inter_ocular(points: FloatArray) -> FloatArray:
    """Return the distance (N,) of the outer eye corners of landmarks (N, n, 2) of any scheme."""
    a, b = scheme_for(points).outer_corners
    distance: FloatArray = np.linalg.norm(points[:, a] - points[:, b], axis=1)
    return distance


def inter_pupil(points: FloatArray) -> FloatArray:
    """Return the distance (N,) of the pupils of landmarks (N, n, 2); of the eye centres if the scheme has no pupils."""
    left, right = (points[:, list(group)].mean(axis=1) for group in scheme_for(points).pupils)
    distance: FloatArray = np.linalg.norm(left - right, axis=1)
    return distance


def box_size(points: FloatArray) -> FloatArray:
    """Return the square root (N,) of the area of the tight box around the annotated landmarks (AFLW's norm)."""
    size: FloatArray = _points_extent(points).prod(axis=1) ** 0.5
    return size


def eye_points(scheme: LandmarkScheme) -> tuple[int, ...]:
    """Return the landmarks of both eyes (12 of the 68); their errors are reported separately."""
    return scheme.left_eye + scheme.right_eye


def scheme_for(points: FloatArray) -> LandmarkScheme:
    """Return the scheme of landmarks (N, n, 2).

    Raises:
        MetricError: no scheme has that many landmarks.
    """
    found = USUAL.get(points.shape[1])
    if found is None:
        known = ", ".join(map(str, sorted(USUAL)))
        raise MetricError(f"no scheme has {points.shape[1]} points, known are {known}; measure by box or diag instead")
    return found


def _points_extent(points: FloatArray) -> FloatArray:
    extent: FloatArray = np.nanmax(points, axis=1) - np.nanmin(points, axis=1)
    return extent


def _extent(boxes: FloatArray) -> FloatArray:
    return boxes[:, 2:] - boxes[:, :2]


def failure_rate(errors: FloatArray, *, threshold: float = 0.1) -> float:
    """Return the share of faces (N,) whose NME exceeds ``threshold``; NaN (face not found) counts as a failure."""
    return float(np.mean(~(errors <= threshold)))


def area_under_curve(errors: FloatArray, *, threshold: float = 0.1) -> float:
    """Return the area under the cumulative error curve up to ``threshold``, over ``threshold`` (AUC, 0..1).

    NaN (face not found) counts as an error above the threshold.
    """
    below = np.where(errors <= threshold, threshold - errors, 0.0)
    return float(below.mean() / threshold)


def figures(errors: FloatArray) -> dict[str, float]:
    """Return the figures that papers report, in percent, from NMEs (N,); NaN (face not found) counts as a failure.

    ``found`` is the share of faces found and ``nme`` the mean over these. ``fr_8`` and ``fr_10`` are the shares of
    errors above 8 and 10 %, ``auc_7`` and ``auc_10`` the areas under the curve up to 7 and 10 %.
    """
    found = errors[~np.isnan(errors)]
    measured = {
        "found": len(found) / len(errors),
        "nme": float(found.mean()) if len(found) else float("nan"),
        "fr_8": failure_rate(errors, threshold=0.08),
        "fr_10": failure_rate(errors, threshold=0.10),
        "auc_7": area_under_curve(errors, threshold=0.07),
        "auc_10": area_under_curve(errors, threshold=0.10),
    }
    return {name: 100 * value for name, value in measured.items()}


def by_subset(errors: FloatArray, subsets: Mapping[str, NDArray[np.bool_]]) -> dict[str, dict[str, float]]:
    """Return ``figures`` of all faces (N,), named "all", and of each non-empty subset; ``faces`` is their number."""
    masks = {"all": np.ones(len(errors), bool), **subsets}
    return {name: {"faces": int(mask.sum()), **figures(errors[mask])} for name, mask in masks.items() if mask.any()}


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation (divisor n - 1) of repeated trainings; the deviation of one is 0."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), spread


def error_curve(errors: FloatArray, *, limit: float = 0.1) -> tuple[FloatArray, FloatArray]:
    """Return the cumulative error distribution (CED, ECDF) of faces (N,) as the corners of its steps.

    Returns:
        error (k,) from 0 to ``limit``, and the share (k,) of all faces at or below it; NaN (face not found) never is.
    """
    inside = np.sort(errors[errors <= limit])
    error = np.concatenate([[0.0], inside, [limit]])
    share = np.concatenate([[0.0], np.arange(1, len(inside) + 1), [len(inside)]]) / max(len(errors), 1)
    return error.astype(np.float32), share.astype(np.float32)


def check_drawing(file: Path) -> None:
    """Check that curves can be drawn to ``file``, before they are computed.

    Raises:
        MetricError: ``file`` ends neither in .svg nor in .png, its folder is missing, or matplotlib is not installed.
    """
    if file.suffix not in (".svg", ".png"):
        raise MetricError(f"{file}: curves are drawn as .svg or .png")
    if not file.absolute().parent.is_dir():
        raise MetricError(f"{file}: its folder does not exist; make it first")
    if find_spec("matplotlib") is None:
        raise MetricError("curves need matplotlib: pip install matplotlib")


def draw_error_curves(
    panels: Mapping[str, Mapping[str, FloatArray]],
    file: Path,
    *,
    limit: float = 0.1,
    title: str = "",
    norm: str = "NME",
) -> None:
    """Draw the cumulative error distribution of each named set of errors (N,), in one panel or several.

    Args:
        panels: errors of the faces by name in the legend, by title of the panel.
        file: output path, ending in .svg or .png.
        limit: largest error shown.
        title: title of the figure.
        norm: name of the errors on the axis.

    Raises:
        MetricError: see ``check_drawing``.
        SinkError: the file cannot be written.
    """
    check_drawing(file)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(panels), 4), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    for place, (part, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), place)
        for name, errors in curves.items():
            x, y = error_curve(errors, limit=limit)
            axes.step(100 * x, 100 * y, where="post", label=name, linewidth=1.2)
        axes.set(xlim=(0, 100 * limit), ylim=(0, 100), xlabel=f"{norm} [%]", ylabel="faces [%]", title=part)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", fontsize="small")
    save_figure(figure, file)


# --- confidence and detection


def roc_auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the probability that a positive scores above a negative; ties count half.

    Raises:
        ValueError: there is no positive or no negative.
    """
    count, total = int(positive.sum()), len(positive)
    if count in (0, total):
        raise ValueError(f"AUC needs positives and negatives; given {count} positive of {total}")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (total - count)))


@dataclass(frozen=True, slots=True)
class Found:
    """Detections and ground truth of one image.

    Attributes:
        boxes, scores: (n, 4) and (n,) detections.
        truth: (k, 4) annotated boxes.
        ignore: (k,) True for annotated boxes that count neither as found nor as missed.
    """

    boxes: FloatArray
    scores: FloatArray
    truth: FloatArray
    ignore: NDArray[np.bool_]


def match(found: Found, *, overlap: float = 0.5) -> NDArray[np.int8]:
    """Match detections to annotated boxes at an IoU of at least ``overlap``.

    Returns:
        (n,), best score first: 1 true, 0 false, -1 matches an ignored box only.
    """
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
    """Return the area under the precision-recall curve over all images.

    Precision is made monotone (VOC 2010 and later).
    """
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
    """Return the share of annotated faces found by detections that score at least ``threshold``."""
    hits = truths = 0
    for found in results:
        keep = found.scores >= threshold
        kept = Found(found.boxes[keep], found.scores[keep], found.truth, found.ignore)
        hits += int((match(kept, overlap=overlap) == 1).sum())
        truths += int((~found.ignore).sum())
    return hits / truths if truths else 0.0
