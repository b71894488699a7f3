"""Errors of a network on a test set, measured as in the papers and compared with theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...realtime.values.arrays import FloatArray
from ..data import LandmarkSet
from ..metrics import (
    NORMS,
    MetricError,
    Norm,
    by_subset,
    eye_points,
    lengths,
    mean_and_deviation,
    nme,
    point_errors,
    usual_norm,
)
from .published import FACES, Result, published
from .tracking import Located

WITHIN = {"helen": "common", "lfpw": "common"}  # larger part to compare with if a paper does not print the subset

Scores = dict[Norm, dict[str, dict[str, float]]]
"""Figures by norm (the usual one first), subset and name; see ``metrics.figures``. ``nme_eyes`` is over the landmarks
of the eyes."""


# --- errors


def measure(data: LandmarkSet, located: Located) -> Scores:
    """Return the figures by every norm that is defined for each face of the set.

    All faces together are called "all", or "full" if they are as many as published. Box and diagonal are those of the
    boxes that come with the set, or else of the boxes around its landmarks. If the set has both, the tight ones are
    separate norms.

    Raises:
        MetricError: a face has no size to divide its errors by.
    """
    scores: Scores = {}
    for norm in _norms(data):
        errors = errors_by(norm, data, located)
        if errors is not None:
            scores[norm] = _figures(errors, data)
    return scores


def _norms(data: LandmarkSet) -> tuple[Norm, ...]:
    usual = usual_norm(data.points, data.boxes)
    others = (norm for norm in NORMS if norm != usual and (data.boxes is not None or not norm.startswith("tight")))
    return (usual, *others)


def usual_errors(data: LandmarkSet, located: Located, *, eyes: bool = False) -> tuple[Norm, FloatArray]:
    """Return the usual norm of the set and the NME (N,) of each face by it, NaN where the face was not found.

    With ``eyes`` the NME is over the landmarks of the eyes only.

    Raises:
        MetricError: a face has no size to divide its errors by.
    """
    norm = usual_norm(data.points, data.boxes)
    errors = point_errors(located.points, data.points, lengths(data.points, norm, data.boxes))
    return norm, faces_errors(errors[:, list(eye_points(data.scheme))] if eyes else errors)


def paired(first: FloatArray, second: FloatArray) -> dict[str, float]:
    """Return mean and standard error of ``second - first`` over the faces (N,) that have both errors, in percent."""
    both = np.isfinite(first) & np.isfinite(second)
    difference = 100 * (second[both] - first[both]).astype(np.float64)
    count = len(difference)
    spread = float(difference.std(ddof=1) / count**0.5) if count > 1 else 0.0
    mean = float(difference.mean()) if count else 0.0
    return {"faces": count, "difference": round(mean, 4), "standard_error": round(spread, 4)}


def errors_by(norm: Norm, data: LandmarkSet, located: Located) -> FloatArray | None:
    """Return errors (N, n) divided by a length of each face, NaN where not annotated or not found.

    Returns None if a face has no such length.
    """
    try:
        size = lengths(data.points, norm, data.boxes)
    except MetricError:  # a number of landmarks for which the position of the eyes is unknown
        return None
    return point_errors(located.points, data.points, size) if (size > 0).all() else None


def faces_errors(errors: FloatArray) -> FloatArray:
    """Return the NME (N,) of each face from errors (N, n), NaN where the face was not found."""
    means = np.full(len(errors), np.nan, np.float32)
    seen = ~np.isnan(errors).all(axis=1)
    means[seen] = nme(errors[seen])
    return means


def _figures(errors: FloatArray, data: LandmarkSet) -> dict[str, dict[str, float]]:
    parts = {name: mask for name, mask in data.subsets.items() if name != "full"}
    complete = "full" in data.subsets or len(data) == FACES.get(data.name, {}).get("full")
    table = by_subset(faces_errors(errors), parts)
    eyes = by_subset(faces_errors(errors[:, list(eye_points(data.scheme))]), parts)
    return {
        "full" if name == "all" and complete else name: {**row, "nme_eyes": eyes[name]["nme"]}
        for name, row in table.items()
    }


def over_seeds(each: Sequence[Scores]) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Return mean, standard deviation and single values of each figure over several trainings of one network."""
    first = each[0]
    return {
        norm: {
            subset: {
                figure: _spread([scores[norm][subset][figure] for scores in each]) for figure in first[norm][subset]
            }
            for subset in first[norm]
        }
        for norm in first
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    mean, deviation = mean_and_deviation(values)
    return {"mean": round(mean, 4), "deviation": round(deviation, 4), "each": [round(value, 4) for value in values]}


# --- comparison with the paper


@dataclass(frozen=True, slots=True)
class Line:
    """Measured figure, with the paper's if there is one.

    Attributes:
        subset: part of the set.
        figure: name of the figure and norm, such as "nme io".
        faces: number of faces measured.
        ours, deviation: mean and standard deviation over the trainings, in percent.
        theirs: result printed in the paper, possibly of a larger part (``WITHIN``); None if there is none.
        published_faces: number of faces of the published part; None if unknown.
    """

    subset: str
    figure: str
    faces: int
    ours: float
    deviation: float
    theirs: Result | None
    published_faces: int | None

    @property
    def same_faces(self) -> bool:
        """True if as many faces were measured as in the paper, or if the paper's number is unknown."""
        return self.published_faces in (None, self.faces)


def beside(name: str, scores: Mapping[str, Any], system: str) -> list[Line]:
    """Return the figures of one set, subset by subset: those that the paper prints, and the usual ones.

    Args:
        name: name of the set.
        scores: measured figures, as returned by ``over_seeds``.
        system: recipe or row of ``published``.
    """
    theirs: dict[tuple[str, str, str], Result] = {(r.subset, r.norm, r.measure): r for r in published(system, name)}
    printed, usual = {subset for subset, _, _ in theirs}, next(iter(scores))
    lines = []
    for subset in _telling(scores[usual]):
        whole = WITHIN.get(subset, subset)
        whole = subset if subset in printed or whole in scores[usual] else whole
        for norm, table in scores.items():
            for figure in ("nme", "nme_eyes", "fr_8", "fr_10", "auc_7", "auc_10"):
                result = theirs.get((whole, norm, figure))
                if result or (norm == usual and figure in ("nme", "nme_eyes", "fr_10", "auc_10")):
                    lines.append(_line(name, subset, f"{figure} {norm}", table[subset], figure, result))
    return lines


def _telling(table: Mapping[str, Any]) -> list[str]:
    """Return the subsets, without "all" if another subset contains all faces."""
    faces = {subset: row["faces"]["mean"] for subset, row in table.items()}
    others = [count for subset, count in faces.items() if subset != "all"]
    return [subset for subset in faces if subset != "all" or faces["all"] not in others]


def _line(name: str, subset: str, label: str, row: Mapping[str, Any], figure: str, result: Result | None) -> Line:
    ours, expected = row[figure], FACES.get(name, {}).get(result.subset if result else subset)
    return Line(subset, label, int(row["faces"]["mean"]), ours["mean"], ours["deviation"], result, expected)
