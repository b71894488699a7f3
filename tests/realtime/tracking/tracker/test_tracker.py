"""Stories in frames, told to real images and networks that take a coloured disc for a face."""

from __future__ import annotations

import numpy as np
import pytest

from nasion.engines.errors import NasionError
from nasion.engines.spec import Spec
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.tracking.tracker import Tracker

from ....support.fakes.disc_stories import ids, make, place, play
from ....support.fakes.networks import (
    BLUE,
    GREEN,
    RED,
    TEMPLATE,
    YELLOW,
    Constant,
    Disc,
    DiscAligner,
    DiscDetector,
    Script,
    backdrop,
    draw,
    frame,
)

# --- faces


def test_a_face_in_the_first_frame_is_reported_in_the_first_frame():
    faces = make().update(frame(0, Disc(RED, 160, 120, 60)))

    assert ids(faces) == [1]
    face = faces[0]
    assert isinstance(face, Face)
    assert face.landmarks.shape == (68, 2)
    assert face.confidence.shape == (68,)
    assert face.landmarks.dtype == face.confidence.dtype == face.box.dtype == np.float32
    assert 0.5 < face.score <= 1
    np.testing.assert_allclose(face.box, [130, 90, 190, 150], atol=1.5)


def test_a_face_that_walks_across_is_one_person_and_its_points_go_with_it():
    tracker = make(smooth="none")
    path = [Disc(RED, 40 + 3 * i, 120 + i / 2) for i in range(80)]
    for disc, faces in zip(path, play(tracker, *([disc] for disc in path)), strict=True):
        assert ids(faces) == [1]
        np.testing.assert_allclose(place(faces[0]), [disc.x, disc.y], atol=1.0)


def test_a_face_that_jumps_is_found_again_in_the_same_frame():
    tracker = make(detect_interval=100 / 30, smooth="none")
    seen = play(tracker, *[[Disc(RED, 120, 120)]] * 5, *[[Disc(RED, 165, 120)]] * 3)
    assert [ids(faces) for faces in seen] == [[1]] * 8
    np.testing.assert_allclose(place(seen[5][0]), [165, 120], atol=1.5)


def test_a_face_that_leaves_the_image_is_dropped_at_its_edge():
    path = [[Disc(RED, 250 + 4 * i, 120)] for i in range(40)]
    seen = [ids(faces) for faces in play(make(), *path)]
    assert seen[0] == [1]
    assert seen[-1] == []
    assert [2] not in seen


def test_a_crowd_is_followed_whole():
    crowd = [
        Disc(colour, 30 + 52 * column, 30 + 60 * row, 34)
        for row in range(4)
        for column, colour in enumerate((RED, GREEN, BLUE, YELLOW, RED, GREEN))
    ]
    seen = play(make(), *[crowd] * 5)
    assert [ids(faces) for faces in seen] == [list(range(1, 25))] * 5


# --- when the detector observations


def test_between_two_looks_the_detector_rests_while_all_faces_are_followed_in_one_batch():
    detector, aligner = DiscDetector(), DiscAligner()
    tracker = Tracker.from_networks(detector, aligner, detect_interval=10 / 30)
    play(tracker, *[[Disc(RED, 80, 120), Disc(GREEN, 220, 120)]] * 10)

    assert len(detector.batches) == 3  # the first frame at three sizes
    new, followed = aligner.batches[:2], aligner.batches[2:]
    assert [batch[0] for batch in new] == [2 * 4, 2]  # turned in four ways, then around the landmarks
    assert [batch[0] for batch in followed] == [2] * 9


def test_the_detect_interval_is_the_time_between_two_detections():
    detector = DiscDetector()
    play(Tracker.from_networks(detector, DiscAligner(), detect_interval=7 / 30), *[[Disc(RED, 160, 120)]] * 22)
    assert len(detector.batches) == 3 + 3  # frame 0 at three sizes, frames 7, 14, 21


def test_a_newcomer_is_found_at_the_next_look_and_is_the_next_number():
    alone, both = [Disc(RED, 80, 120)], [Disc(RED, 80, 120), Disc(GREEN, 220, 120)]
    seen = [ids(faces) for faces in play(make(detect_interval=6 / 30), *[alone] * 2, *[both] * 8)]
    assert seen == [[1]] * 6 + [[1, 2]] * 4


def test_before_an_empty_room_the_first_to_come_is_found_before_the_next_scheduled_look():
    empty, there = [], [Disc(RED, 160, 120)]
    seen = [ids(faces) for faces in play(make(detect_interval=15 / 30), *[empty] * 2, *[there] * 6)]
    assert seen.index([1]) <= 5


def test_an_empty_room_is_not_searched_in_every_frame():
    detector = DiscDetector()
    play(Tracker.from_networks(detector, DiscAligner(), detect_interval=15 / 30), *[[]] * 60)
    assert 8 <= len(detector.batches) <= 19  # every 15 frames at least; in the first one at 3 sizes and in 3 rotations


def test_a_face_that_vanishes_is_dropped_at_once_and_the_detector_is_not_asked_for_ever():
    detector = DiscDetector()
    tracker = Tracker.from_networks(detector, DiscAligner(), detect_interval=1000 / 30)
    both, one = [Disc(RED, 80, 120), Disc(GREEN, 220, 120)], [Disc(GREEN, 220, 120)]
    seen = [ids(faces) for faces in play(tracker, *[both] * 5, *[one] * 60)]

    assert seen == [[1, 2]] * 5 + [[2]] * 60
    assert len(detector.batches) == 3 + 5  # the first frame at three sizes; at once and after 1, 2, 4 and 8 frames


def test_a_face_that_flickers_does_not_have_the_detector_asked_in_every_frame():
    detector = DiscDetector()
    tracker = Tracker.from_networks(detector, DiscAligner(), detect_interval=1000 / 30)
    other = Disc(GREEN, 220, 120)
    scenes = [[other, Disc(RED, 80, 120)] if i % 2 else [other] for i in range(100)]
    play(tracker, [other, Disc(RED, 80, 120)], *scenes)
    assert 8 <= len(detector.batches) <= 3 + 5 + 100 / 5


# --- not a face


def test_the_backdrop_in_place_of_a_face_is_not_a_face_and_is_watched_while_the_face_may_return():
    aligner = DiscAligner()
    tracker = Tracker.from_networks(DiscDetector(), aligner, keep=0.5)
    seen = play(tracker, *[[Disc(RED, 160, 120)]] * 3, *[[]] * 30)
    assert [ids(faces) for faces in seen[3:]] == [[]] * 30
    assert 2 + 2 + 15 <= len(aligner.batches) <= 2 + 2 + 18  # found, followed, then looked for during half a second


def test_what_the_detector_takes_for_a_face_but_the_aligner_does_not_is_dropped():
    wall = backdrop()
    wall[80:150, 20:300] = RED  # of the right colour, but not round
    tracker = make()
    for i in range(20):
        assert tracker.update(Frame(wall, i / 30, i)) == []


def test_a_doubtful_first_look_is_followed_by_a_second_and_that_one_counts():
    def found(*presence):
        seen = DiscDetector()
        tracker = Tracker.from_networks(seen, Script(*presence), detect_size=320)
        return ids(tracker.update(frame(0, Disc(RED, 160, 120))))

    assert found(0.3, 0.9) == [1]
    assert found(0.9, 0.3) == []
    assert found(0.1, 0.9) == []


@pytest.mark.parametrize(
    "box",
    [
        [100, 100, 104, 105],  # a face of four pixels
        [-3000, -3000, 3000, 3000],
        [500, 100, 560, 160],  # wholly beside the image
        [100, -200, 160, -140],
    ],
)
def test_boxes_in_which_no_face_can_be_are_not_even_looked_at(box):
    detector = Constant(Spec("detector", "one", (320, 320), stride=32), boxes=[box], scores=[0.9])
    aligner = Script()
    assert Tracker.from_networks(detector, aligner, detect_size=320).update(frame(0)) == []
    assert aligner.batches == []


def test_points_that_run_out_of_all_measure_are_a_face_no_more():
    for factor in (0.01, 50.0, np.nan, 1e30):
        wild = Constant(
            Spec("landmarks", "wild", (128, 128), landmarks=68),
            points=TEMPLATE * 40 * factor + 63.5,
            confidence=np.ones(68),
            presence=1.0,
        )
        assert Tracker.from_networks(DiscDetector(), wild).update(frame(0, Disc(RED, 160, 120))) == []


# --- frames


def test_time_may_stand_still_jump_ahead_and_fall_back():
    tracker = make()
    for i, time in enumerate([0.0, 0.0, 0.1, 0.1, 60.0, 3.0, 3.0, -5.0, 1e9, 0.0]):
        faces = tracker.update(Frame(draw(Disc(RED, 150 + i, 120)), time, i))
        assert ids(faces) == [1]
        assert np.isfinite(faces[0].landmarks).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (16, 9), (33, 77)])
def test_tiny_and_narrow_images_hold_no_face_and_do_no_harm(size):
    tracker = make()
    for i in range(3):
        assert tracker.update(Frame(backdrop(i, size), i / 30, i)) == []


def test_images_seen_through_strides_are_as_good_as_others():
    image = draw(Disc(RED, 100, 120))
    plain = make().update(Frame(image, 0.0, 0))
    for view in (
        np.asfortranarray(image),
        image[:, ::-1].copy()[:, ::-1],
        np.repeat(image, 2, axis=1)[:, ::2],
    ):
        faces = make().update(Frame(view, 0.0, 0))
        np.testing.assert_allclose(faces[0].landmarks, plain[0].landmarks, atol=1e-3)


def test_what_a_caller_does_to_the_points_does_not_reach_the_tracker():
    for strength in ("none", "light"):
        touched, untouched = make(smooth=strength), make(smooth=strength)
        for i in range(5):
            f = frame(i, Disc(RED, 150 + 2 * i, 120))
            faces, expected = touched.update(f), untouched.update(f)
            np.testing.assert_array_equal(faces[0].landmarks, expected[0].landmarks)
            faces[0].landmarks[:] = 0
            faces[0].box[:] = 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("image.jpg", r"given an object of type str; give a nasion\.Frame\(image="),
        (np.zeros((4, 4, 3), np.uint8), "given an object of type ndarray; give a nasion.Frame"),
    ],
)
def test_what_is_not_a_frame_is_refused_with_what_was_given_and_what_is_allowed(value, message):
    with pytest.raises(NasionError, match=message):
        make().update(value)
