"""Openings of eyes and mouth: ratios of distances between landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from nasion.engines.errors import NasionError
from nasion.realtime.measures.head import generic_head
from nasion.realtime.measures.openings import EYES, Openings
from nasion.realtime.values.arrays import FloatArray
from nasion.realtime.values.published_schemes import AFLW_19, AFLW_21, IBUG_68
from nasion.realtime.values.scheme import LandmarkScheme
from nasion.realtime.values.schemes import SCHEMES


def drawn(scheme: LandmarkScheme, **openings: float) -> FloatArray:
    """Return landmarks (n, 2) in which each opening is 40 px wide and open by a share of that."""
    points = np.zeros((scheme.count, 2), np.float32)
    for number, (part, share) in enumerate(openings.items()):
        opening, x = scheme.openings[part], 100 * number
        points[list(opening.corners)] = (x, 0), (x + 40, 0)
        for upper, lower in opening.pairs:
            points[[upper, lower]] = (x + 20, -20 * share), (x + 20, 20 * share)
    return points


@pytest.mark.parametrize("scheme", [s for s in SCHEMES.values() if s.openings], ids=lambda scheme: scheme.name)
def test_an_opening_is_the_distance_of_the_lids_over_the_width(scheme: LandmarkScheme) -> None:
    points = drawn(scheme, left_eye=0.3, right_eye=0.2, mouth=0.75)
    assert Openings(scheme)(points) == pytest.approx([0.3, 0.2, 0.75])
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    assert Openings(scheme)(3 * points @ turn + 7) == pytest.approx([0.3, 0.2, 0.75], rel=1e-5)


def test_the_eyes_of_the_generic_head_are_open_and_its_left_is_left_in_the_image() -> None:
    left, right, mouth = Openings(IBUG_68)(generic_head().points[:, :2])
    assert left == pytest.approx(right, abs=0.01)
    assert 0.2 < left < 0.45
    assert 0 <= mouth < 0.5
    corners = IBUG_68.openings["left_eye"].corners
    assert generic_head().points[list(corners), 0].max() < 0


def test_corners_that_coincide_give_a_number() -> None:
    points = drawn(IBUG_68, left_eye=0.3, right_eye=0.3)
    points[39] = points[36]
    left, right = Openings(IBUG_68, EYES)(points)
    assert np.isfinite(left)
    assert right == pytest.approx(0.3)


@pytest.mark.parametrize("scheme", [AFLW_19, AFLW_21], ids=lambda scheme: scheme.name)
def test_a_scheme_without_lids_is_refused(scheme: LandmarkScheme) -> None:
    with pytest.raises(NasionError, match=r"how far the left eye is open; leave eyes out of measures"):
        Openings(scheme, EYES)
    with pytest.raises(NasionError, match=r"how far the mouth is open; leave mouth out of measures"):
        Openings(scheme, ("mouth",))
