"""Points that a network found on a test set, measured as papers do and put beside what they print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...realtime.faces import FloatArray
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

WITHIN = {"helen": "common", "lfpw": "common"}  # where a paper prints no such part, the part of which it is one

Scores = dict[Norm, dict[str, dict[str, float]]]
"""Figures by norm, the usual one first, by subset, by name; see ``metrics.figures``, and ``nme_eyes`` over the points
of the eyes."""


# --- how far off they are


def measure(data: LandmarkSet, located: Located) -> Scores:
    """Figures by every norm that each face of the set has: of all faces ("all", or "full" of the published number).

    Box and diagonal are of the boxes that come with the set, or else of those around its points, which are measured
    apart where both are there.

    Raises:
        MetricError: a face has no size by which its errors could be divided.
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


def usual_errors(data: LandmarkSet, located: Located) -> tuple[Norm, FloatArray]:
    """The usual norm of the set, and the NME of each face (N,) by it, NaN where it was not found.

    Raises:
        MetricError: a face has no size by which its errors could be divided.
    """
    norm = usual_norm(data.points, data.boxes)
    errors = point_errors(located.points, data.points, lengths(data.points, norm, data.boxes))
    return norm, faces_errors(errors)


def errors_by(norm: Norm, data: LandmarkSet, located: Located) -> FloatArray | None:
    """Errors (N, n) over a length of each face, NaN where not annotated or found; None where a face has no length."""
    try:
        size = lengths(data.points, norm, data.boxes)
    except MetricError:  # a number of points of which nobody knows where the eyes are
        return None
    return point_errors(located.points, data.points, size) if (size > 0).all() else None


def faces_errors(errors: FloatArray) -> FloatArray:
    """NME of each face (N,) from errors (N, n), NaN where it was not found."""
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
    """Mean, standard deviation and single values of each figure over the same network trained several times."""
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


# --- beside the paper


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of ours, beside the paper's where there is one.

    Attributes:
        subset: part of the set.
        figure: such as "nme io".
        faces: how many of ours it rests on.
        ours, deviation: percent, over the trainings measured.
        theirs: what the paper prints, maybe of a larger part (``WITHIN``); None for nothing.
        published_faces: how many the published part has; None where unknown.
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
        """Whether ours are as many faces as the paper's, as far as is known."""
        return self.published_faces in (None, self.faces)


def beside(name: str, scores: Mapping[str, Any], system: str) -> list[Line]:
    """Figures of one set (``over_seeds``), subset by subset: those that the paper prints, and the usual ones.

    Args:
        name: of the set.
        scores: ours.
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
    """The subsets, without "all" where one of them is all of it."""
    faces = {subset: row["faces"]["mean"] for subset, row in table.items()}
    others = [count for subset, count in faces.items() if subset != "all"]
    return [subset for subset in faces if subset != "all" or faces["all"] not in others]


def _line(name: str, subset: str, label: str, row: Mapping[str, Any], figure: str, result: Result | None) -> Line:
    ours, expected = row[figure], FACES.get(name, {}).get(result.subset if result else subset)
    return Line(subset, label, int(row["faces"]["mean"]), ours["mean"], ours["deviation"], result, expected)
