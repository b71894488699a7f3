"""Checks of the values in network outputs."""

from __future__ import annotations

import numpy as np
import pytest

from nasion.realtime.values.arrays import FARTHEST, possible, probability, within

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0.5, 1], True), ([0.5], True), ([], False), ([0.5, NAN, 0.5], False), ([NAN], False), ([0, 1.01], False)],
)
@pytest.mark.parametrize("shape", [(-1,), (1, -1), (-1, 1)])
def test_values_within_bounds(values: list[float], expected: bool, shape: tuple[int, ...]) -> None:
    assert within(np.array(values, np.float32).reshape(shape), 0, 1) is expected
    assert within(-np.array(values, np.float32).reshape(shape), -1, 0) is expected


def test_probabilities_are_clipped_and_nothing_else_is_changed() -> None:
    good = np.array([[0, 0.25, 1]], np.float32)
    assert probability(good) is good
    wrong = np.array([[-0.5, 0.25, 1.5], [NAN, INF, -INF]], np.float32)
    np.testing.assert_array_equal(probability(wrong), np.array([[0, 0.25, 1], [0, 0, 0]], np.float32))
    assert probability(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_places_are_possible_up_to_the_farthest() -> None:
    places = np.array([[FARTHEST, -FARTHEST], [2 * FARTHEST, 0], [NAN, 0], [0, INF]], np.float32)
    assert possible(places, 1).tolist() == [True, False, False, False]
