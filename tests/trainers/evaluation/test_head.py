"""Fit of the generic head: the head that faces were made of comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasion.realtime.faces.measured import Pose
from nasion.realtime.measures.head import generic_head
from nasion.trainers.data import DataError
from nasion.trainers.evaluation.measures.head import fit_head

pytest.importorskip("torch")


def faces_of(count: int, *, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return landmarks of the generic head from all sides, NaN where it hides them, and a rough yaw."""
    rng, head = np.random.default_rng(0), generic_head()
    yaw = rng.uniform(-90, 90, count)
    points = np.empty((count, 68, 2), np.float32)
    for face, angle in enumerate(yaw):
        rotation = Pose(angle, rng.uniform(-20, 20), rng.uniform(-15, 15), (0, 0, 0)).rotation
        shape = head.points + rng.normal(0, noise, (68, 3))
        points[face] = (shape @ rotation.T)[:, :2] * rng.uniform(0.5, 2) + rng.uniform(50, 200, 2)
        points[face][-np.sign(head.points[:, 0]) * angle > head.hidden_from] = np.nan
    return points, (yaw + rng.normal(0, 8, count)).astype(np.float32)


def test_the_head_of_which_faces_were_made_is_found() -> None:
    points, yaw = faces_of(500, noise=1.0)
    fitted, head = fit_head(points, yaw), generic_head()
    assert np.abs(fitted.points - head.points).max() < 2.5
    assert np.median(np.abs(fitted.points - head.points)) < 0.6
    assert 0.7 < np.median(fitted.spread) < 1.4
    sides = head.hidden_from < 90
    assert np.abs(fitted.hidden_from - head.hidden_from)[sides].max() < 12
    assert (fitted.hidden_from[~sides] == 180).all()


def test_too_few_faces_are_refused() -> None:
    points, yaw = faces_of(60, noise=1.0)
    with pytest.raises(DataError, match="60 faces have 25 labelled landmarks and a known yaw; a head needs 100"):
        fit_head(points, yaw)


def test_the_shipped_head_is_the_one_of_the_data(shared_data: Path) -> None:
    from nasion.trainers.data import read_aflw68

    faces = read_aflw68(shared_data)
    fitted = fit_head(faces.points, faces.yaw)
    np.testing.assert_allclose(fitted.points, generic_head().points, atol=0.05)
    np.testing.assert_allclose(fitted.hidden_from, generic_head().hidden_from, atol=1)
