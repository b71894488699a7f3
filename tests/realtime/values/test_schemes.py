"""Every scheme against a symmetric face that was laid out from anatomy, not from the scheme's own pairs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nasion.realtime.values.published_schemes import AFLW_19, AFLW_21
from nasion.realtime.values.scheme import LandmarkScheme
from nasion.realtime.values.schemes import USUAL, scheme_of

from ...support.data_sets.labelled import face_shape

every_scheme = pytest.mark.parametrize("scheme", USUAL.values(), ids=lambda scheme: scheme.name)


def test_there_is_a_scheme_for_each_published_number_of_points() -> None:
    assert list(USUAL) == [19, 21, 29, 68, 98, 106]
    assert scheme_of(98) is USUAL[98]
    assert scheme_of(5) is None


@every_scheme
def test_every_index_of_a_scheme_is_one_of_its_points(scheme: LandmarkScheme) -> None:
    used = {
        *scheme.left_eye,
        *scheme.right_eye,
        *scheme.mouth,
        *scheme.outer_corners,
        *(i for group in (*scheme.pupils, *scheme.lines) for i in group),
    }
    assert used <= set(range(scheme.count))
    assert len(face_shape(scheme.count)) == len(scheme.flip) == scheme.count


@every_scheme
def test_flipping_twice_changes_nothing(scheme: LandmarkScheme) -> None:
    assert [scheme.flip[i] for i in scheme.flip] == list(range(scheme.count))


@every_scheme
def test_a_mirrored_face_is_the_flipped_face(scheme: LandmarkScheme) -> None:
    face = face_shape(scheme.count)
    mirrored = face * [-1, 1] + [1, 0]
    np.testing.assert_allclose(mirrored[list(scheme.flip)], face, atol=1e-6)


@every_scheme
def test_a_lopsided_face_has_its_other_eye_on_the_left_when_mirrored(scheme: LandmarkScheme) -> None:
    face = face_shape(scheme.count)
    face[:, 0] += 0.1 * face[:, 0] ** 2 + 0.05 * face[:, 1]
    mirrored = (face * [-1, 1])[list(scheme.flip)]
    right_eye = face[list(scheme.right_eye)].mean(axis=0)
    np.testing.assert_allclose(mirrored[list(scheme.left_eye)].mean(axis=0), right_eye * [-1, 1], atol=1e-6)
    assert mirrored[list(scheme.left_eye), 0].mean() < mirrored[list(scheme.right_eye), 0].mean()


@every_scheme
def test_flips_map_eyes_to_eyes_and_mouth_to_mouth(scheme: LandmarkScheme) -> None:
    flip = scheme.flip
    assert {flip[i] for i in scheme.left_eye} == set(scheme.right_eye)
    assert {flip[i] for i in scheme.mouth} == set(scheme.mouth)
    assert {flip[i] for i in scheme.pupils[0]} == set(scheme.pupils[1])
    assert tuple(flip[i] for i in scheme.outer_corners) == scheme.outer_corners[::-1]


@every_scheme
def test_flips_map_lines_to_lines(scheme: LandmarkScheme) -> None:
    joins = {frozenset(pair) for run in scheme.lines for pair in pairwise(run)}
    assert {frozenset(scheme.flip[i] for i in pair) for pair in joins} == joins


@every_scheme
def test_eyes_pupils_and_mouth_lie_where_the_face_has_them(scheme: LandmarkScheme) -> None:
    face = face_shape(scheme.count)
    centres = [face[list(group)].mean(axis=0) for group in (scheme.left_eye, scheme.right_eye, scheme.mouth)]
    np.testing.assert_allclose(centres, [[0.28, 0.28], [0.72, 0.28], [0.5, 0.75]], atol=0.01)
    pupils = [face[list(group)].mean(axis=0) for group in scheme.pupils]
    np.testing.assert_allclose(pupils, [[0.28, 0.28], [0.72, 0.28]], atol=0.01)
    np.testing.assert_allclose(face[list(scheme.outer_corners)], [[0.19, 0.28], [0.81, 0.28]], atol=0.01)


@every_scheme
def test_lines_join_neighbours_only(scheme: LandmarkScheme) -> None:
    face = face_shape(scheme.count)
    steps = [np.linalg.norm(face[a] - face[b]) for run in scheme.lines for a, b in pairwise(run)]
    assert max(steps) < 0.25, "a quarter of the face: a wrong index would jump further"


def test_the_19_points_are_the_21_without_the_ears() -> None:
    kept = [i for i in range(21) if i not in (12, 16)]
    renumbered = [kept.index(AFLW_21.flip[i]) for i in kept]
    assert tuple(renumbered) == AFLW_19.flip
