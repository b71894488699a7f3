from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from OneEuroFilter import OneEuroFilter

from nasion.engines.errors import NasionError
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.measured import Pose
from nasion.realtime.sources.synthetic import FACE, CameraMotion
from nasion.realtime.tracking.smoothing import FORGET, SETTINGS, OneEuro, PoseOneEuro, Setting, Smoother
from nasion.realtime.values.geometry import box_of, transform

from ...support.fakes.networks import TEMPLATE

STEP = 1 / 30


def face(points, number=1):
    points = np.asarray(points, np.float32)
    return Face(number, box_of(points), 0.9, points, np.ones(len(points), np.float32))


def run(strength, track, times=None, number=1):
    """Smoothed points (frames, n, 2) of a track (frames, n, 2)."""
    smoother = Smoother(strength)
    times = np.arange(len(track)) * STEP if times is None else times
    return np.stack(
        [smoother.smooth([face(p, number)], time=t)[0].landmarks for p, t in zip(track, times, strict=True)]
    )


@pytest.mark.parametrize("setting", [*SETTINGS.values(), Setting(1.0, 0.0, 1.0), Setting(1.5, 0.7, 3.0)], ids=str)
@pytest.mark.parametrize("steady", [True, False])
def test_one_coordinate_is_filtered_as_by_the_filter_of_its_inventors(rng, setting, steady):
    steps = np.full(120, STEP) if steady else rng.uniform(0.01, 0.2, 120)
    times = 1 + np.cumsum(steps)
    signal = np.cumsum(rng.normal(0, 0.02, 120)) + np.sin(times)
    oracle = OneEuroFilter(30, setting.cutoff, setting.beta, setting.speed_cutoff)
    ours = OneEuro(replace(setting, sudden=math.inf, common_beta=0.0))  # the published filter has no such terms
    for time, value in zip(times, signal, strict=True):
        points = np.float32([[value, 0], [0, value], [7, 7]])
        expected = oracle(float(value), float(time))
        filtered = ours(points, time=float(time), size=1.0)
        np.testing.assert_allclose(filtered, [[expected, 0], [0, expected], [7, 7]], atol=2e-5)


def test_a_repeated_time_counts_as_the_step_before_as_with_the_inventors():
    times, signal = [1.0, 1.1, 1.1, 1.15, 1.25], [0.0, 1.0, 2.0, 1.0, 3.0]
    oracle, ours = OneEuroFilter(30, 1.0, 0.5, 1.0), OneEuro(Setting(1.0, 0.5, 1.0))
    for time, value in zip(times, signal, strict=True):
        filtered = ours(np.float32([[value, 0]]), time=time, size=1.0)
        assert filtered[0, 0] == pytest.approx(oracle(value, time), abs=1e-5)


def test_points_are_filtered_alike_whatever_the_size_of_the_face_and_the_direction(rng):
    track = TEMPLATE * 0.5 + np.cumsum(rng.normal(0, 0.03, (60, 1, 2)), axis=0) + rng.normal(0, 0.005, (60, 68, 2))
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    ours = OneEuro(SETTINGS["light"]), OneEuro(SETTINGS["light"]), OneEuro(SETTINGS["light"])
    for i, points in enumerate(track.astype(np.float32)):
        time = i * STEP
        small, large = ours[0](points, time=time, size=1.0), ours[1](points * 200, time=time, size=200.0)
        turned = ours[2]((points @ turn).astype(np.float32), time=time, size=1.0)
        np.testing.assert_allclose(large, small * 200, rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(turned, small @ turn, rtol=1e-3, atol=1e-4)


def jitter(track):
    """Mean change from frame to frame."""
    return float(np.sqrt(np.square(np.diff(track, axis=0)).mean()))


@pytest.mark.parametrize(("strength", "least", "most"), [("light", 0.1, 0.5), ("strong", 0.02, 0.25)])
@pytest.mark.parametrize("size", [20.0, 400.0])
@pytest.mark.parametrize("noise", [0.002, 0.005, 0.008])
def test_a_still_face_is_calmed(rng, strength, least, most, size, noise):
    track = TEMPLATE * size / 2 + 300 + rng.normal(0, noise * size, (120, 68, 2))
    calm = run(strength, track)
    share = jitter(calm[10:]) / jitter(track[10:])
    assert least < share < most
    np.testing.assert_allclose(calm[60:].mean(axis=0), TEMPLATE * size / 2 + 300, atol=3 * noise * size)


def lag(smoothed, truth):
    """Frames by which a track runs behind, where it moves."""
    speed = np.gradient(truth, axis=0)
    late = ((truth - smoothed) * speed)[5:].sum() / np.square(speed[5:]).sum()
    return float(late)


@pytest.mark.parametrize(("strength", "most"), [("light", 0.25), ("strong", 0.5)])
def test_a_face_under_the_virtual_camera_is_followed_within_half_a_frame(rng, strength, most):
    camera = CameraMotion(size=(640, 360), seconds=10.0)
    middle, half = np.array([(FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2]), (FACE[2] - FACE[0]) / 2
    here = (TEMPLATE * half + middle).astype(np.float32)
    truth = np.stack([transform(here, camera.transform(i)) for i in range(camera.frames)])
    noisy = truth + rng.normal(0, 0.4, truth.shape)
    smoothed = run(strength, noisy)
    assert lag(noisy, truth) == pytest.approx(0, abs=0.02)
    assert 0 < lag(smoothed, truth) < most


@pytest.mark.parametrize("speed", [0.1, 0.5, 2.0])
def test_light_stays_within_two_hundredths_of_a_face_behind_steady_motion(speed):
    size = 100.0
    track = TEMPLATE * size / 2 + 50 + np.arange(60)[:, None, None] * np.array([speed * size * STEP, 0])
    behind = (track - run("light", track))[30:, :, 0] / size
    assert behind.min() > 0
    assert behind.max() < 0.02


@pytest.mark.parametrize("strength", ["light", "strong"])
def test_a_face_that_moves_as_a_whole_lags_less_than_a_single_landmark(strength):
    size = 100.0
    way = np.arange(60)[:, None, None] * np.array([0.3 * size * STEP, 0])
    track = TEMPLATE * size / 2 + 50 + way
    single = np.repeat(track[:1], 60, axis=0)
    single[:, 30] += way[:, 0]
    together, alone = (lag(run(strength, each)[:, [30]], each[:, [30]]) for each in (track, single))
    assert together < 0.6 * alone


@pytest.mark.parametrize("speed", [0.0, 0.01])
def test_the_common_speed_of_a_face_at_rest_counts_for_nothing(rng, speed):
    track = TEMPLATE * 50 + 50 + np.arange(60)[:, None, None] * np.array([speed * 100 * STEP, 0])
    filters = [OneEuro(replace(SETTINGS["light"], common_beta=beta)) for beta in (0.0, 200.0)]
    for index, points in enumerate(track.astype(np.float32)):
        plain, common = (each(points, time=index * STEP, size=100.0) for each in filters)
        np.testing.assert_array_equal(plain, common)


def test_none_gives_back_the_very_faces():
    faces = [face(TEMPLATE * 30), face(TEMPLATE * 20, 2)]
    assert Smoother("none").smooth(faces, time=0.0) is faces


def test_the_first_time_that_a_face_is_seen_it_stays_as_it_is():
    first = face(TEMPLATE * 30 + 100)
    (smoothed,) = Smoother("strong").smooth([first], time=5.0)
    np.testing.assert_array_equal(smoothed.landmarks, first.landmarks)


def test_the_box_lies_around_the_smoothed_points_and_the_rest_is_kept():
    smoother = Smoother("strong")
    smoother.smooth([face(TEMPLATE * 30)], time=0.0)
    moved = face(TEMPLATE * 30 + 4)
    (smoothed,) = smoother.smooth([moved], time=STEP)
    assert (smoothed.landmarks < moved.landmarks).any()
    np.testing.assert_array_equal(smoothed.box, box_of(smoothed.landmarks))
    assert (smoothed.id, smoothed.score) == (moved.id, moved.score)
    assert smoothed.confidence is moved.confidence


def test_each_identity_has_a_filter_of_its_own(rng):
    a, b = TEMPLATE * 30 + rng.normal(0, 1, (20, 68, 2)), TEMPLATE * 50 + 200 + rng.normal(0, 1, (20, 68, 2))
    together = Smoother("light")
    alone = run("light", a), run("light", b, number=2)
    for i in range(20):
        faces = [face(a[i]), face(b[i], 2)]
        both = together.smooth(faces if i % 2 else faces[::-1], time=i * STEP)
        for smoothed in both:
            np.testing.assert_array_equal(smoothed.landmarks, alone[smoothed.id - 1][i])


def test_a_short_gap_is_bridged_and_after_a_long_one_the_filter_restarts():
    for gap, fresh in ((FORGET / 2, False), (FORGET * 1.5, True), (-FORGET * 1.5, True), (-FORGET / 2, False)):
        smoother = Smoother("strong")
        for i in range(3):
            smoother.smooth([face(TEMPLATE * 30)], time=10 + i * STEP)
        smoother.smooth([], time=10 + 2 * STEP + gap / 2)
        later = face(TEMPLATE * 30 + 3)
        (smoothed,) = smoother.smooth([later], time=10 + 2 * STEP + gap)
        assert np.array_equal(smoothed.landmarks, later.landmarks) == fresh, gap


@pytest.mark.parametrize("times", [[0, 0, 0, 0.1], [5, 4.9, 4.9, 5.2], [0, 1e-9, 2e-9, 1], [0, 100, -100, 1e12]])
def test_strange_times_give_points_between_the_old_and_the_new(times):
    track = np.stack([TEMPLATE * 30 + 2 * i for i in range(4)])
    smoothed = run("light", track, times)
    assert np.isfinite(smoothed).all()
    assert (smoothed >= track[0] - 1e-3).all()
    assert (smoothed <= track + 1e-3).all()


@pytest.mark.parametrize(
    "times",
    [[3.0] * 9, [-i * STEP for i in range(9)], [i * 1e-6 for i in range(9)]],
    ids=["standing still", "going back", "too short a step"],
)
@pytest.mark.parametrize("strength", ["light", "strong"])
def test_points_are_not_smoothed_while_no_time_step_is_known(strength, times):
    track = np.stack([TEMPLATE * 30 + 2 * i for i in range(9)])
    np.testing.assert_array_equal(run(strength, track, times), track)


def test_smoothing_begins_with_the_first_time_step():
    track = np.stack([TEMPLATE * 30 + 2 * i for i in range(6)])
    late = run("strong", track, [0, 0, 0, STEP, 2 * STEP, 3 * STEP])
    np.testing.assert_array_equal(late[2:], run("strong", track[2:]))


@pytest.mark.parametrize("step", [0.0, -STEP])
def test_a_clock_that_stops_or_runs_back_later_does_not_freeze_the_points(step):
    track = np.stack([TEMPLATE * 30 + 2 * i for i in range(60)])
    smoothed = run("light", track, [STEP * i if i < 10 else 10 * STEP + step * (i - 10) for i in range(60)])
    assert (smoothed[-1] > track[-3]).all()


@pytest.mark.parametrize("step", [0.0, 1e-6])
def test_identities_long_gone_are_forgotten_where_the_clock_does_not_advance(step):
    smoother = Smoother("light")
    for number in range(1, 200):
        smoother.smooth([face(TEMPLATE * 30, number)], time=number * step)
    assert len(smoother._filters) < 30


def test_identities_long_gone_are_forgotten():
    smoother = Smoother("light")
    for number in range(1, 200):
        smoother.smooth([face(TEMPLATE * 30, number)], time=number * 0.1)
    assert len(smoother._filters) < 10
    smoother.reset()
    assert smoother._filters == {}


# --- poses


def pose(yaw, pitch=0.0, roll=0.0):
    return Pose(yaw, pitch, roll, (10.0, 20.0, 600.0), 640.0)


def posed(smoother, poses):
    faces = [replace(face(TEMPLATE * 30), pose=each) for each in poses]
    return [smoother.smooth([each], time=i * STEP)[0].pose for i, each in enumerate(faces)]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=str)
def test_a_pose_is_filtered_as_landmarks_are(rng, setting):
    angles = np.cumsum(rng.normal(0, 1, (90, 3)), axis=0)
    poses, rows = PoseOneEuro(setting), OneEuro(setting)
    for i, each in enumerate(angles):
        found = poses(pose(*each.tolist()), time=i * STEP)
        expected = rows(np.stack([each, np.zeros(3)], axis=1), time=i * STEP, size=90.0)[:, 0]
        np.testing.assert_allclose([found.yaw, found.pitch, found.roll], expected, atol=1e-3)
        assert (found.translation, found.focal_length) == ((10.0, 20.0, 600.0), 640.0)


def test_a_head_at_rest_has_a_steadier_pose_and_none_leaves_it_as_it_is(rng):
    poses = [pose(30 + noise, noise) for noise in rng.normal(0, 0.2, 90).tolist()]
    assert posed(Smoother("none"), poses) == poses
    yaws = [each.yaw for each in posed(Smoother("light"), poses)[30:]]
    assert np.std(yaws) < 0.5 * np.std([each.yaw for each in poses[30:]])
    assert np.mean(yaws) == pytest.approx(30, abs=0.1)


def test_a_head_upside_down_does_not_turn_the_long_way(rng):
    rolls = [each.roll for each in posed(Smoother("light"), [pose(0, 0, 179.5 * (-1) ** i) for i in range(60)])]
    assert min(abs(roll) for roll in rolls) > 179
    assert max(abs(roll) for roll in rolls) <= 180


def test_a_frame_without_a_pose_has_none_and_the_next_one_goes_on():
    found = posed(Smoother("light"), [pose(10), pose(10), None, pose(10)])
    assert found[2] is None
    assert found[3].yaw == pytest.approx(10)


def test_a_strength_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(NasionError, match="'soft' is unknown; allowed: none, light, strong"):
        Smoother("soft")


def test_a_sudden_start_does_not_lag():
    still, setting = TEMPLATE * 40 + 300, SETTINGS["light"]
    late = {}
    for sudden in (setting.sudden, math.inf):
        one_euro = OneEuro(replace(setting, sudden=sudden))
        for i in range(10):
            one_euro(still, time=i * STEP, size=80.0)
        moved = one_euro(still + np.float32([16, 0]), time=10 * STEP, size=80.0)
        late[sudden] = float(np.abs(still + np.float32([16, 0]) - moved).max())
    assert late[setting.sudden] < 0.5 * late[math.inf]
