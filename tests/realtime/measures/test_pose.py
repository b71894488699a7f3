"""Head pose: what was projected comes back, in the stated conventions, with any scheme that has the landmarks."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, product

import cv2
import numpy as np
import pytest

from nasion.engines.errors import NasionError
from nasion.realtime.faces.measured import Pose
from nasion.realtime.measures.head import ORIGIN, PUPILS_APART, generic_head
from nasion.realtime.measures.pose import PoseEstimator
from nasion.realtime.values.arrays import FloatArray
from nasion.realtime.values.published_schemes import IBUG_68
from nasion.realtime.values.scheme import LandmarkScheme
from nasion.realtime.values.schemes import SCHEMES

SIZE = (640, 360)
SURE = np.ones(68, np.float32)


def projected(pose: Pose, scheme: LandmarkScheme = IBUG_68, focal: float = 640.0) -> FloatArray:
    """Return the landmarks (n, 2) of the generic head in an image of ``SIZE``; (0, 0) for those without a place."""
    points = np.zeros((scheme.count, 2), np.float32)
    for landmark, place in scheme.head.items():
        x, y, z = pose.rotation @ generic_head().points[place] + pose.translation
        points[landmark] = x / z * focal + (SIZE[0] - 1) / 2, y / z * focal + (SIZE[1] - 1) / 2
    return points


@pytest.mark.parametrize(("yaw", "pitch", "roll"), list(product((-70, -30, 0, 30, 70), (-25, 0, 25), (-40, 0, 150))))
def test_the_pose_of_a_projected_head_is_found(yaw: float, pitch: float, roll: float) -> None:
    truth = Pose(yaw, pitch, roll, (80.0, -40.0, 700.0))
    found = PoseEstimator(IBUG_68)(projected(truth), SURE, SIZE)
    assert found is not None
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((yaw, pitch, roll), abs=0.3)
    assert found.translation == pytest.approx(truth.translation, abs=2)
    assert found.focal_length == 640


def test_the_conventions_are_those_of_the_docs() -> None:
    looks = {
        name: Pose(*angles, (0.0, 0.0, 600.0)).rotation @ (0, 0, -1)
        for name, angles in {"straight": (0, 0, 0), "left": (30, 0, 0), "down": (0, 30, 0)}.items()
    }
    np.testing.assert_allclose(looks["straight"], (0, 0, -1), atol=1e-9)
    assert looks["left"][0] < 0
    assert looks["down"][1] > 0
    eyes = projected(Pose(0, 0, 30, (0, 0, 600)))[list(IBUG_68.outer_corners)]
    assert math.degrees(math.atan2(*(eyes[1] - eyes[0])[::-1])) == pytest.approx(30, abs=0.5)  # clockwise
    head = generic_head().points
    assert head[ORIGIN].tolist() == [0, 0, 0]
    assert head[30, 2] < head[36, 2] < head[0, 2]  # the nose is nearer to the camera than eyes and ears
    pupils = [head[list(eye)].mean(axis=0) for eye in (IBUG_68.left_eye, IBUG_68.right_eye)]
    assert np.linalg.norm(pupils[1] - pupils[0]) == pytest.approx(PUPILS_APART, abs=0.05)
    np.testing.assert_allclose(head[list(IBUG_68.flip)] * (-1, 1, 1), head, atol=0.011)


def test_faces_that_differ_from_the_head_by_its_spread_give_a_better_pose_than_solvepnp() -> None:
    rng = np.random.default_rng(0)
    camera = np.array([[640, 0, 319.5], [0, 640, 179.5], [0, 0, 1.0]])
    ours, theirs = [], []
    for _ in range(100):
        truth = Pose(*rng.uniform((-20, -20, -20), (20, 20, 20)), (0.0, 0.0, 600.0))
        points = projected(truth) + rng.normal(0, generic_head().spread[:, None] * 640 / 600, (68, 2))
        found = PoseEstimator(IBUG_68)(points, SURE, SIZE)
        assert found is not None
        _, turn, _ = cv2.solvePnP(generic_head().points, points, camera, None)
        for errors, rotation in ((ours, found.rotation), (theirs, cv2.Rodrigues(turn)[0])):
            cosine = (np.trace(rotation.T @ truth.rotation) - 1) / 2
            errors.append(math.degrees(math.acos(min(cosine, 1.0))))
    assert np.mean(ours) < np.mean(theirs)


def test_the_yaw_does_not_jump_while_a_head_turns() -> None:
    """The weights of the landmarks change with the yaw, but not abruptly."""
    rng = np.random.default_rng(1)
    wrong = rng.normal(0, 3, (68, 2))  # a face that differs from the generic one
    estimator = PoseEstimator(IBUG_68)
    yaws = []
    for yaw in np.arange(-85, 85, 0.25):
        found = estimator(projected(Pose(yaw, 0, 0, (0, 0, 600))) + wrong, SURE, SIZE)
        assert found is not None
        yaws.append(found.yaw)
    assert max(abs(b - a) for a, b in pairwise(yaws)) < 1


def test_unsure_landmarks_hardly_count() -> None:
    truth = Pose(10, 5, 0, (0, 0, 600))
    points, unsure = projected(truth), SURE.copy()
    points[:17] += 30
    unsure[:17] = 0.3
    found = PoseEstimator(IBUG_68)(points, unsure, SIZE)
    fooled = PoseEstimator(IBUG_68)(points, SURE, SIZE)
    assert found is not None
    assert fooled is not None
    assert abs(found.yaw - 10) < 0.5 < abs(fooled.yaw - 10)


def test_the_focal_length_scales_the_distance() -> None:
    points = projected(Pose(0, 0, 0, (0, 0, 1500)))
    near, far = (PoseEstimator(IBUG_68, focal)(points, SURE, SIZE) for focal in (None, 1280.0))
    assert near is not None
    assert far is not None
    assert near.translation[2] == pytest.approx(1500, rel=0.01)
    assert far.translation[2] == pytest.approx(3000, rel=0.03)
    assert far.focal_length == 1280


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.name)
def test_every_known_scheme_gives_the_pose(scheme: LandmarkScheme) -> None:
    truth = Pose(-25, 10, 15, (50, 20, 800))
    found = PoseEstimator(scheme)(projected(truth, scheme), np.ones(scheme.count, np.float32), SIZE)
    assert found is not None
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((-25, 10, 15), abs=0.5)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.name)
def test_places_on_the_head_are_those_of_mirror_images_too(scheme: LandmarkScheme) -> None:
    for landmark, place in scheme.head.items():
        assert scheme.head[scheme.flip[landmark]] == IBUG_68.flip[place]


@pytest.mark.parametrize("points", [np.zeros((68, 2)), np.repeat(np.arange(68.0)[:, None], 2, axis=1)])
def test_landmarks_in_one_place_or_on_a_line_have_no_pose(points: FloatArray) -> None:
    assert PoseEstimator(IBUG_68)(points, SURE, SIZE) is None


def test_a_scheme_without_places_on_the_head_is_refused() -> None:
    with pytest.raises(NasionError, match=r"place on the head of 2 landmarks, and the pose needs 6; .* leave pose out"):
        PoseEstimator(replace(IBUG_68, head={27: 27, 30: 30}))
    with pytest.raises(NasionError, match=r"lie in a plane"):
        PoseEstimator(replace(IBUG_68, head={i: i for i in (27, 28, 29, 30, 33, 51, 8)}))
