"""Evaluation of a landmark network on labelled faces of a user: errors by face and by landmark, and the worst faces."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...engines.output_paths import write_file
from ...engines.runtime import Runtime
from ...realtime.tracking.aligner import Aligner
from ...realtime.tracking.tracker import Tracker
from ...realtime.values.arrays import FloatArray, Image
from ...realtime.values.geometry import Region, region_of_points, roll
from ...realtime.values.scheme import LandmarkScheme
from ..data import LandmarkSet, read_images, sheet
from ..metrics import MetricError, area_under_curve, draw_error_curves, failure_rate, nme, point_errors, scheme_lengths
from .tracking import Watch, locate, unwatched, watched

WORST = 24
REPORT = ("faces.csv", "points.csv", "worst.jpg", "error-curve.svg")
"""Files that ``write_report`` writes."""


@dataclass(frozen=True, slots=True)
class OwnErrors:
    """Errors of a network on labelled faces.

    Attributes:
        data: the faces.
        found: (N, n, 2) landmarks found in crops around the labels, in pixels of each image.
        errors: (N, n) their errors over the norm of the scheme, NaN where not annotated.
        tracked: (N,) mean error of each face through detector and tracker, NaN where it was missed; None if that was
            not measured.
    """

    data: LandmarkSet
    found: FloatArray
    errors: FloatArray
    tracked: FloatArray | None = None

    @property
    def of_face(self) -> FloatArray:
        """Mean error (N,) of each face."""
        return nme(self.errors)

    @property
    def of_point(self) -> FloatArray:
        """Mean error (n,) of each landmark; NaN for one that is never annotated."""
        known = ~np.isnan(self.errors)
        mean: FloatArray = np.nansum(self.errors, axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
        return mean

    def figures(self) -> dict[str, Any]:
        """Return the figures of the whole set, in percent."""
        measured: dict[str, Any] = {"faces": len(self.data), "in_crops": _figures(self.of_face)}
        if self.tracked is not None:
            found = ~np.isnan(self.tracked)
            measured["through_the_tracker"] = {"found_percent": _percent(found.mean()), **_figures(self.tracked)}
        names = _names(self.data.scheme)
        measured["by_landmark"] = {name: _percent(value) for name, value in zip(names, self.of_point, strict=True)}
        return measured


def _figures(errors: FloatArray) -> dict[str, float | None]:
    found = errors[~np.isnan(errors)]
    return {
        "nme_percent": _percent(found.mean()) if len(found) else None,
        "median_percent": _percent(np.median(found)) if len(found) else None,
        "failure_percent": _percent(failure_rate(errors)),
        "auc_10_percent": _percent(area_under_curve(errors)),
    }


def _percent(part: Any) -> float | None:
    return round(100 * float(part), 3) if np.isfinite(part) else None


def _names(scheme: LandmarkScheme) -> tuple[str, ...]:
    return scheme.names or tuple(map(str, range(scheme.count)))


def measure_own(
    runtime: Runtime, data: LandmarkSet, tracker: Tracker | None = None, *, watch: Watch = unwatched
) -> OwnErrors:
    """Return the errors of a landmark network on labelled faces.

    Args:
        runtime: the network.
        data: labelled faces with its scheme.
        tracker: tracker with the network, to measure it with detection too; None to leave that out.
        watch: shows progress.

    Raises:
        MetricError: the network has another number of landmarks.
        DataError: an image cannot be read.
    """
    count, scheme = data.points.shape[1], data.scheme
    if runtime.spec.landmarks != count:
        raise MetricError(
            f"the network finds {runtime.spec.landmarks} landmarks, {data.name} has {count}; give data of its scheme"
        )
    aligner, norm = Aligner(runtime), scheme_lengths(data.points, scheme)
    found = np.empty_like(data.points)
    for i, image in enumerate(watched(read_images(data.files), data.name, len(data), watch)):
        region = _region(data.points[i], scheme, runtime.spec.crop_margin)
        found[i] = aligner.align(image, [region]).points[0]
    tracked = None
    if tracker is not None:
        located = locate(tracker, data, watch=watch)
        each = point_errors(located.points, data.points, norm)
        tracked = np.full(len(data), np.nan, np.float32)
        tracked[located.found] = nme(each[located.found])
    return OwnErrors(data, found, point_errors(found, data.points, norm), tracked)


def _region(points: FloatArray, scheme: LandmarkScheme, margin: float) -> Region:
    known = points[~np.isnan(points[:, 0])]
    angle = roll(points, scheme) if scheme.tells_roll and len(known) == len(points) else 0.0
    return region_of_points(known, margin=margin, angle=angle)


def write_report(measured: OwnErrors, folder: Path) -> list[Path]:
    """Write tables of the errors by face and by landmark, a sheet of the worst faces, and the error curve.

    Returns:
        The files that were written, of ``REPORT``; without matplotlib there is no curve.

    Raises:
        SinkError: a file cannot be written.
    """
    data, worst_first = measured.data, np.argsort(-np.nan_to_num(measured.of_face, nan=np.inf))
    faces: list[Sequence[Any]] = [("image", "face", "nme", *(["tracked_nme"] if measured.tracked is not None else []))]
    for i in worst_first.tolist():
        through = () if measured.tracked is None else (_cell(measured.tracked[i]),)
        faces.append((data.files[i], i, _cell(measured.of_face[i]), *through))
    points = [("landmark", "name", "nme"), *_point_rows(measured)]
    write_file(folder / "faces.csv", _table(faces))
    write_file(folder / "points.csv", _table(points))
    _, encoded = cv2.imencode(".jpg", worst_sheet(measured))
    write_file(folder / "worst.jpg", encoded.tobytes())
    curve = folder / "error-curve.svg"
    curves = {"in crops": measured.of_face} | ({} if measured.tracked is None else {"tracked": measured.tracked})
    if find_spec("matplotlib") is None:
        return [folder / name for name in REPORT[:-1]]
    draw_error_curves({data.name: curves}, curve)
    return [folder / name for name in REPORT]


def _point_rows(measured: OwnErrors) -> list[tuple[Any, ...]]:
    names = _names(measured.data.scheme)
    return [(i, name, _cell(value)) for i, (name, value) in enumerate(zip(names, measured.of_point, strict=True))]


def _cell(value: Any) -> str:
    return f"{float(value):.5f}" if np.isfinite(value) else ""


def _table(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def worst_sheet(measured: OwnErrors) -> Image:
    """Return a sheet of the faces with the largest errors: labels in green, what was found in red."""
    order = np.argsort(-np.nan_to_num(measured.of_face, nan=np.inf))[:WORST]
    chosen = measured.data.pick(order)
    cells = []
    for i, image in zip(order.tolist(), read_images(chosen.files), strict=True):
        cell = sheet.face_cell(image, measured.data.points[i], measured.data.scheme, found=measured.found[i])
        text = f"{100 * measured.of_face[i]:.1f} %"
        cv2.putText(cell, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        cells.append(cell)
    return sheet.block(f"{measured.data.name}: the {len(cells)} largest errors; green: label, red: found", cells)
