"""Covers over faces: they change a part of the face, leave the rest, and differ."""

from __future__ import annotations

import numpy as np
import pytest

from nasion.realtime.values.published_schemes import IBUG_68
from nasion.trainers.data.covers import cover_face

from ...support.fakes.networks import TEMPLATE

POINTS = (TEMPLATE * 60 + 150).astype(np.float32)


@pytest.mark.parametrize("seed", range(12))
def test_a_cover_hides_a_part_of_the_face_and_no_more(seed):
    image = np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8)
    before = image.copy()
    covered = cover_face(np.random.default_rng(seed), image, POINTS, IBUG_68)
    assert (covered.dtype, covered.shape) == (np.uint8, image.shape)
    np.testing.assert_array_equal(image, before)
    changed = (covered != image).any(axis=2)
    x0, y0 = POINTS.min(axis=0).astype(int)
    x1, y1 = POINTS.max(axis=0).astype(int)
    assert 0.02 < changed[y0:y1, x0:x1].mean() < 0.95
    assert changed.mean() < 0.6


def test_covers_are_reproducible_and_of_several_kinds():
    image = np.full((300, 300, 3), 128, np.uint8)
    images = [cover_face(np.random.default_rng(seed), image, POINTS, IBUG_68) for seed in range(20)]
    np.testing.assert_array_equal(images[3], cover_face(np.random.default_rng(3), image, POINTS, IBUG_68))
    assert len({each.tobytes() for each in images}) > 12


def test_landmarks_without_annotation_are_left_out():
    image, points = np.full((300, 300, 3), 128, np.uint8), POINTS.copy()
    points[:40] = np.nan
    for seed in range(10):
        covered = cover_face(np.random.default_rng(seed), image, points, IBUG_68)
        assert covered.shape == image.shape
