"""ByteTrack and OC-SORT on hand-made boxes, and on scenes with the face in the wheel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from nasion.engines.select import open_runtime
from nasion.engines.tensorrt.photograph import PHOTOGRAPH
from nasion.engines.zoo import model_path
from nasion.realtime.faces.frame import Frame
from nasion.tools.main import main
from nasion.trainers.evaluation.scenarios.box_filters import AreaFilter, HeightFilter, assign
from nasion.trainers.evaluation.scenarios.byte_track import ByteTrack
from nasion.trainers.evaluation.scenarios.oc_sort import OCSort
from nasion.trainers.evaluation.scenarios.sort_tracker import RULES, SortTracker

BOTH = pytest.mark.parametrize("rules", [ByteTrack, OCSort])
FILTERS = pytest.mark.parametrize("kind", [HeightFilter, AreaFilter])


def box(x, y=100.0, side=60.0):
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def step(tracker, *boxes, scores=None):
    """Give a frame's boxes to the rules, and return the ID of each, None where it has none."""
    ids = tracker.update(
        np.array(boxes, np.float32).reshape(-1, 4), np.float32([0.9] * len(boxes) if scores is None else scores)
    )
    return [ids.get(i) for i in range(len(boxes))]


@FILTERS
def test_a_filter_learns_a_constant_velocity_and_keeps_the_shape(kind):
    at = np.array([10.0, 20, 70, 100])
    tracked, way = kind(at), np.array([4.0, -2, 4, -2])
    for _ in range(40):
        at = at + way
        tracked.predict()
        tracked.update(at)
    np.testing.assert_allclose(tracked.box, at, atol=0.5)
    tracked.predict()
    np.testing.assert_allclose(tracked.box, at + way, atol=0.5)


@FILTERS
def test_the_uncertainty_of_a_filter_grows_without_measurements_and_shrinks_with_one(kind):
    tracked = kind(np.array(box(100)))
    tracked.predict()
    once = np.trace(tracked.covariance[:2, :2])
    tracked.predict()
    twice = np.trace(tracked.covariance[:2, :2])
    tracked.update(np.array(box(100)))
    assert np.trace(tracked.covariance[:2, :2]) < once < twice


def test_the_assignment_has_the_largest_sum_of_the_pairs_that_are_allowed():
    gain = np.array([[0.9, 0.8], [0.8, 0.1]])
    assert assign(gain, gain > 0) == [(0, 1), (1, 0)], "1.6 in all, against 1.0 for the best pair first"
    assert assign(gain, gain > 0.85) == [(0, 0)]
    assert assign(np.zeros((0, 2)), np.zeros((0, 2), bool)) == []


@BOTH
def test_two_faces_that_cross_one_above_the_other_keep_their_identities(rules):
    tracker = rules()
    first = step(tracker, box(100, 100), box(400, 130))
    assert first == [1, 2]
    for index in range(1, 31):
        ids = step(tracker, box(100 + 10 * index, 100), box(400 - 10 * index, 130))
    assert ids == first


@BOTH
def test_a_face_comes_back_within_the_buffer_and_is_new_after_it(rules):
    for gap, same in ((30, True), (32, False)):
        tracker = rules(buffer=30)
        for _ in range(5):
            (before,) = step(tracker, box(200))
        for _ in range(gap):
            assert step(tracker) == []
        after = [step(tracker, box(200))[0] for _ in range(5)][-1]
        assert before == 1
        assert (after == before) == same, gap


@BOTH
def test_an_empty_video_has_no_tracks(rules):
    tracker = rules()
    assert [step(tracker) for _ in range(3)] == [[], [], []]


def test_bytetrack_follows_a_weak_detection_but_begins_no_track_with_one():
    tracker = ByteTrack()
    assert step(tracker, box(200), box(400), scores=[0.9, 0.3]) == [1, None]
    for _ in range(40):
        assert step(tracker, box(200), box(400), scores=[0.3, 0.3]) == [1, None]
    assert step(tracker, box(200), scores=[0.05]) == [None], "below the lowest score"


def test_bytetrack_does_not_find_a_lost_track_again_by_a_weak_detection():
    tracker = ByteTrack()
    step(tracker, box(200))
    step(tracker)
    assert step(tracker, box(200), scores=[0.3]) == [None]
    assert step(tracker, box(200), scores=[0.65]) == [1]


def test_bytetrack_reports_a_later_face_from_its_second_frame_on():
    tracker = ByteTrack()
    step(tracker, box(200))
    assert step(tracker, box(200), box(400)) == [1, None]
    assert step(tracker, box(200), box(400)) == [1, 2]
    assert step(tracker, box(200), box(400), box(550), scores=[0.9, 0.9, 0.65]) == [1, 2, None]
    assert step(tracker, box(200), box(400), box(550), scores=[0.9, 0.9, 0.65]) == [1, 2, None], "below BEGIN"


def test_oc_sort_ignores_weak_detections():
    tracker = OCSort()
    step(tracker, box(200))
    assert step(tracker, box(200), scores=[0.3]) == [None]


def test_oc_sort_reports_a_later_face_after_three_matches():
    tracker = OCSort()
    for _ in range(5):
        step(tracker, box(200))
    ids = [step(tracker, box(200), box(400))[1] for _ in range(4)]
    assert ids == [None, None, None, 2]


def test_oc_sort_prefers_the_detection_in_the_direction_of_the_motion():
    tracker = OCSort()
    for index in range(8):
        step(tracker, box(100 + 12 * index, side=120))
    (track,) = tracker._tracks
    expected = float(track.filter.box[[0, 2]].mean() + track.filter.state[4])
    # Both have the same IoU with the prediction; the first is behind the face of three frames ago.
    assert step(tracker, box(expected - 45, side=120), box(expected + 45, side=120)) == [None, 1]


def test_oc_sort_finds_a_face_that_stopped_while_it_was_hidden():
    """The filter predicts that the face has moved on; its last observation is still there (OCR)."""
    tracker = OCSort()
    for index in range(10):
        step(tracker, box(100 + 15 * index))
    for _ in range(12):
        step(tracker)
    ids = [step(tracker, box(100 + 15 * 9))[0] for _ in range(4)]
    assert ids[-1] == 1


def test_oc_sort_repeats_a_gap_with_interpolated_boxes():
    """After a gap, the filter is the one that boxes interpolated between the observations would give (ORU)."""
    tracker, complete = OCSort(), AreaFilter(np.array(box(300)))
    ways = [300 + 8 * index for index in range(10)] + [372 - 3 * index for index in range(1, 11)]
    for index, x in enumerate(ways):
        hidden = 10 <= index < 19
        step(tracker, *([] if hidden else [box(x)]))
        if index:
            complete.predict()
            complete.update(np.array(box(x)))
    (track,) = tracker._tracks
    assert track.id == 1
    np.testing.assert_allclose(track.filter.state, complete.state, rtol=1e-9)
    np.testing.assert_allclose(track.filter.covariance, complete.covariance, rtol=1e-9)


@pytest.mark.parametrize("rules", list(RULES))
def test_faces_have_landmarks_of_the_aligner(rules):
    image = cv2.imread(str(PHOTOGRAPH))
    with (
        open_runtime(model_path("face-detector")) as detector,
        open_runtime(model_path("landmarks-68")) as aligner,
        SortTracker(rules, detector, aligner, keep=1.0) as tracker,
    ):
        found = [tracker.update(Frame(image, index / 30, index)) for index in range(3)]
    assert [[face.id for face in faces] for faces in found] == [[1]] * 3
    face = found[-1][0]
    assert face.landmarks["left_eye"].shape == (6, 2)
    assert face.score > 0.9


def test_the_command_refuses_rules_for_other_sets(tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "300w", "--data", str(tmp_path), "--rules", "bytetrack"])
    assert "nasion evaluate tracking --rules bytetrack" in str(end.value.code)
