"""Stories in frames, told to real pictures and networks that take a coloured disc for a face."""

from __future__ import annotations

import threading
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from nasion.engines.errors import ModelError, NasionError, RuntimeUnavailable
from nasion.engines.spec import Spec
from nasion.realtime.faces import Face, Frame
from nasion.realtime.tracker import Tracker, TrackerOptions

from .fake_networks import (
    BLUE,
    GREEN,
    RED,
    SIZE,
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


def make(**options):
    options = {"detect_every": 15, **options}
    return Tracker.from_networks(DiscDetector(), DiscAligner(), **{"detect_every": 15, **options})


def play(tracker, *scenes):
    """Faces of every frame; a scene is the discs of one frame."""
    return [tracker.update(frame(i, *discs)) for i, discs in enumerate(scenes)]


def ids(faces):
    return [face.id for face in faces]


def place(face):
    return (face.box[:2] + face.box[2:]) / 2


def test_a_face_in_the_first_frame_is_reported_in_the_first_frame():
    faces = make().update(frame(0, Disc(RED, 160, 120, 60)))

    assert ids(faces) == [1]
    face = faces[0]
    assert isinstance(face, Face)
    assert face.points.shape == (68, 2)
    assert face.confidence.shape == (68,)
    assert face.points.dtype == face.confidence.dtype == face.box.dtype == np.float32
    assert 0.5 < face.score <= 1
    np.testing.assert_allclose(face.box, [130, 90, 190, 150], atol=1.5)


def test_a_face_that_walks_across_is_one_person_and_its_points_go_with_it():
    tracker = make(smooth="none")
    path = [Disc(RED, 40 + 3 * i, 120 + i / 2) for i in range(80)]
    for disc, faces in zip(path, play(tracker, *([disc] for disc in path)), strict=True):
        assert ids(faces) == [1]
        np.testing.assert_allclose(place(faces[0]), [disc.x, disc.y], atol=1.0)


def test_between_two_looks_the_detector_rests_while_all_faces_are_followed_in_one_batch():
    detector, aligner = DiscDetector(), DiscAligner()
    tracker = Tracker.from_networks(detector, aligner, detect_every=10)
    play(tracker, *[[Disc(RED, 80, 120), Disc(GREEN, 220, 120)]] * 10)

    assert len(detector.batches) == 1
    twice_afresh, followed = aligner.batches[:2], aligner.batches[2:]
    assert [batch[0] for batch in twice_afresh] == [2, 2]
    assert [batch[0] for batch in followed] == [2] * 9


def test_detect_every_is_the_number_of_frames_between_two_looks():
    detector = DiscDetector()
    play(Tracker.from_networks(detector, DiscAligner(), detect_every=7), *[[Disc(RED, 160, 120)]] * 22)
    assert len(detector.batches) == 4  # frames 0, 7, 14, 21


def test_a_newcomer_is_found_at_the_next_look_and_is_the_next_number():
    alone, both = [Disc(RED, 80, 120)], [Disc(RED, 80, 120), Disc(GREEN, 220, 120)]
    seen = [ids(faces) for faces in play(make(detect_every=6), *[alone] * 2, *[both] * 8)]
    assert seen == [[1]] * 6 + [[1, 2]] * 4


def test_before_an_empty_room_the_first_to_come_is_found_before_the_next_scheduled_look():
    empty, there = [], [Disc(RED, 160, 120)]
    seen = [ids(faces) for faces in play(make(detect_every=15), *[empty] * 2, *[there] * 6)]
    assert seen.index([1]) <= 5


def test_an_empty_room_is_not_searched_in_every_frame():
    detector = DiscDetector()
    play(Tracker.from_networks(detector, DiscAligner(), detect_every=15), *[[]] * 60)
    assert len(detector.batches) <= 13


def test_a_face_that_vanishes_is_dropped_at_once_and_the_detector_is_not_asked_for_ever():
    detector = DiscDetector()
    tracker = Tracker.from_networks(detector, DiscAligner(), detect_every=1000)
    both, one = [Disc(RED, 80, 120), Disc(GREEN, 220, 120)], [Disc(GREEN, 220, 120)]
    seen = [ids(faces) for faces in play(tracker, *[both] * 5, *[one] * 60)]

    assert seen == [[1, 2]] * 5 + [[2]] * 60
    assert len(detector.batches) == 1 + 5  # at once and after 1, 2, 4 and 8 frames


def test_the_backdrop_is_not_followed_where_a_face_was():
    aligner = DiscAligner()
    tracker = Tracker.from_networks(DiscDetector(), aligner)
    seen = play(tracker, *[[Disc(RED, 160, 120)]] * 3, *[[]] * 30)
    assert [ids(faces) for faces in seen[3:]] == [[]] * 30
    assert len(aligner.batches) == 2 + 2 + 2  # found, followed, missed twice; then nobody looks there any more


def test_what_the_detector_takes_for_a_face_but_the_aligner_does_not_is_nobody():
    wall = backdrop()
    wall[80:150, 20:300] = RED  # of the right colour, but not round
    tracker = make()
    for i in range(20):
        assert tracker.update(Frame(wall, i / 30, i)) == []


@pytest.mark.parametrize("hidden", [1, 20])
def test_a_face_that_is_covered_for_a_while_keeps_its_identity(hidden):
    here, gone = [Disc(RED, 150, 120)], []
    back = [Disc(RED, 165, 125)]
    seen = [ids(faces) for faces in play(make(), *[here] * 4, *[gone] * hidden, *[back] * 16)]
    assert seen[:4] == [[1]] * 4
    assert seen[4 : 4 + hidden] == [[]] * hidden
    assert seen[-1] == [1]
    assert [2] not in seen


def test_a_face_that_flickers_does_not_have_the_detector_asked_in_every_frame():
    detector = DiscDetector()
    tracker = Tracker.from_networks(detector, DiscAligner(), detect_every=1000)
    other = Disc(GREEN, 220, 120)
    scenes = [[other, Disc(RED, 80, 120)] if i % 2 else [other] for i in range(100)]
    play(tracker, [other, Disc(RED, 80, 120)], *scenes)
    assert len(detector.batches) <= 1 + 5 + 100 / 5


def test_a_doubtful_first_look_is_followed_by_a_second_and_that_one_counts():
    def found(*presence):
        seen = DiscDetector()
        return ids(Tracker.from_networks(seen, Script(*presence)).update(frame(0, Disc(RED, 160, 120))))

    assert found(0.3, 0.9) == [1]
    assert found(0.9, 0.3) == []
    assert found(0.1, 0.9) == []


@pytest.mark.parametrize(
    "box",
    [
        [100, 100, 104, 105],  # a face of four pixels
        [-3000, -3000, 3000, 3000],
        [500, 100, 560, 160],  # wholly beside the picture
        [100, -200, 160, -140],
    ],
)
def test_boxes_in_which_no_face_can_be_are_not_even_looked_at(box):
    detector = Constant(Spec("detector", "one", (320, 320), stride=32), boxes=[box], scores=[0.9])
    aligner = Script()
    assert Tracker.from_networks(detector, aligner).update(frame(0)) == []
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


def test_a_face_that_jumps_is_found_again_in_the_same_frame():
    tracker = make(detect_every=100, smooth="none")
    seen = play(tracker, *[[Disc(RED, 120, 120)]] * 5, *[[Disc(RED, 165, 120)]] * 3)
    assert [ids(faces) for faces in seen] == [[1]] * 8
    np.testing.assert_allclose(place(seen[5][0]), [165, 120], atol=1.5)


def test_who_stays_away_longer_than_keep_is_somebody_new():
    here, gone = [Disc(RED, 150, 120)], []
    forgotten = [ids(faces) for faces in play(make(keep=0.5), *[here] * 3, *[gone] * 30, *[here] * 16)]
    assert forgotten[-1] == [2]
    remembered = [ids(faces) for faces in play(make(keep=2), *[here] * 3, *[gone] * 30, *[here] * 16)]
    assert remembered[-1] == [1]


def test_a_face_far_from_where_one_was_lost_is_somebody_new():
    seen = play(make(), *[[Disc(RED, 60, 60)]] * 3, *[[Disc(RED, 260, 180)]] * 16)
    assert ids(seen[-1]) == [2]


def test_two_who_pass_each_other_keep_their_identities():
    for front, behind in ((RED, GREEN), (GREEN, RED)):
        scenes = [[Disc(behind, 270 - 3.2 * i, 118), Disc(front, 50 + 3.2 * i, 122)] for i in range(68)]
        seen = play(make(smooth="none"), *scenes)
        first, last = seen[0], seen[-1]
        assert len(first) == len(last) == 2
        starts = {face.id: place(face)[0] for face in first}
        ends = {face.id: place(face)[0] for face in last}
        assert set(starts) == set(ends) == {1, 2}
        for who in (1, 2):
            assert (starts[who] < 160) != (ends[who] < 160), "went across, and stayed the same"
        for faces in seen:
            assert len({tuple(np.round(face.box)) for face in faces}) == len(faces), "two on one face"


def test_a_cut_brings_new_people_even_in_the_same_place():
    other_room = backdrop(seed=5)
    tracker = make()
    disc = Disc(RED, 160, 120)
    before = [ids(tracker.update(frame(i, disc))) for i in range(5)]
    after = [ids(tracker.update(frame(i, disc, on=other_room))) for i in range(5, 10)]
    assert before == [[1]] * 5
    assert after == [[2]] * 5


def test_max_faces_takes_the_largest_and_then_keeps_whom_it_has():
    small, large, larger = Disc(RED, 60, 60, 40), Disc(GREEN, 160, 150, 70), Disc(BLUE, 260, 90, 90)
    tracker = make(max_faces=1, detect_every=3)
    seen = play(tracker, *[[small, large]] * 4, *[[small, large, larger]] * 8, *[[small]] * 8)
    assert [ids(faces) for faces in seen[:12]] == [[1]] * 12
    np.testing.assert_allclose(place(seen[11][0]), [160, 150], atol=1.5)
    assert ids(seen[-1]) == [2]
    np.testing.assert_allclose(place(seen[-1][0]), [60, 60], atol=1.5)


def test_a_false_alarm_larger_than_all_faces_does_not_take_their_place():
    wall = backdrop()
    wall[20:100, 10:310] = BLUE
    tracker = make(max_faces=1)
    faces = tracker.update(frame(0, Disc(RED, 160, 170, 50), on=wall))
    assert ids(faces) == [1]
    np.testing.assert_allclose(place(faces[0]), [160, 170], atol=1.5)


def test_a_crowd_is_followed_whole():
    crowd = [
        Disc(colour, 30 + 52 * column, 30 + 60 * row, 34)
        for row in range(4)
        for column, colour in enumerate((RED, GREEN, BLUE, YELLOW, RED, GREEN))
    ]
    seen = play(make(), *[crowd] * 5)
    assert [ids(faces) for faces in seen] == [list(range(1, 25))] * 5


def test_time_may_stand_still_jump_ahead_and_fall_back():
    tracker = make()
    for i, time in enumerate([0.0, 0.0, 0.1, 0.1, 60.0, 3.0, 3.0, -5.0, 1e9, 0.0]):
        faces = tracker.update(Frame(draw(Disc(RED, 150 + i, 120)), time, i))
        assert ids(faces) == [1]
        assert np.isfinite(faces[0].points).all()


def test_a_picture_of_another_size_begins_anew():
    tracker = make()
    small, large = backdrop(), backdrop(size=(640, 480))
    assert ids(tracker.update(frame(0, Disc(RED, 160, 120), on=small))) == [1]
    assert ids(tracker.update(frame(1, Disc(RED, 500, 400), on=large))) == [2]
    assert ids(tracker.update(frame(2, Disc(RED, 160, 120), on=small))) == [3]


def test_a_face_that_leaves_the_picture_is_dropped_at_its_edge():
    path = [[Disc(RED, 250 + 4 * i, 120)] for i in range(40)]
    seen = [ids(faces) for faces in play(make(), *path)]
    assert seen[0] == [1]
    assert seen[-1] == []
    assert [2] not in seen


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (16, 9), (33, 77)])
def test_tiny_and_narrow_pictures_hold_no_face_and_do_no_harm(size):
    tracker = make()
    for i in range(3):
        assert tracker.update(Frame(backdrop(i, size), i / 30, i)) == []


def test_pictures_seen_through_strides_are_as_good_as_others():
    image = draw(Disc(RED, 100, 120))
    plain = make().update(Frame(image, 0.0, 0))
    for view in (
        np.asfortranarray(image),
        image[:, ::-1].copy()[:, ::-1],
        np.repeat(image, 2, axis=1)[:, ::2],
    ):
        faces = make().update(Frame(view, 0.0, 0))
        np.testing.assert_allclose(faces[0].points, plain[0].points, atol=1e-3)


def story():
    scenes = [[Disc(RED, 60 + 3 * i, 120), *([Disc(GREEN, 240, 90, 50)] if i > 12 else [])] for i in range(25)]
    scenes += [[]] * 5 + [[Disc(RED, 150, 120)]] * 15
    frames = [frame(i, *discs) for i, discs in enumerate(scenes)]
    return frames + [frame(len(frames) + i, Disc(BLUE, 150, 100), on=backdrop(9)) for i in range(6)]


def same(left, right):
    assert [ids(faces) for faces in left] == [ids(faces) for faces in right]
    for a, b in zip(chain(*left), chain(*right), strict=True):
        np.testing.assert_array_equal(a.points, b.points)
        np.testing.assert_array_equal(a.box, b.box)


def test_update_is_smooth_of_follow_of_search():
    whole, parts = make(), make()
    frames = story()
    expected = [whole.update(f) for f in frames]
    assert len({face.id for faces in expected for face in faces}) >= 3
    same(expected, [parts.smooth(f, parts.follow(f, parts.search(f))) for f in frames])


def test_the_stages_may_run_one_behind_the_other():
    whole, parts = make(), make()
    frames = story()
    sightings = [parts.search(f) for f in frames]
    followed = [parts.follow(f, sighting) for f, sighting in zip(frames, sightings, strict=True)]
    same(
        [whole.update(f) for f in frames],
        [parts.smooth(f, faces) for f, faces in zip(frames, followed, strict=True)],
    )


def test_search_in_another_thread_gives_the_same_faces():
    whole, parts = make(), make()
    frames = story()
    sightings, ready = [], threading.Semaphore(0)

    def search():
        for f in frames:
            sightings.append(parts.search(f))
            ready.release()

    thread = threading.Thread(target=search)
    thread.start()
    results = []
    for i, f in enumerate(frames):
        assert ready.acquire(timeout=30)
        results.append(parts.smooth(f, parts.follow(f, sightings[i])))
    thread.join()
    same([whole.update(f) for f in frames], results)


def test_smoothing_changes_no_identity_and_following_uses_the_raw_points():
    raw, calm = make(smooth="none"), make(smooth="strong")
    for f in story():
        plain, smoothed = raw.update(f), calm.update(f)
        assert ids(plain) == ids(smoothed)
        assert [face.score for face in plain] == [face.score for face in smoothed]


def test_what_a_caller_does_to_the_points_does_not_reach_the_tracker():
    for strength in ("none", "light"):
        touched, untouched = make(smooth=strength), make(smooth=strength)
        for i in range(5):
            f = frame(i, Disc(RED, 150 + 2 * i, 120))
            faces, expected = touched.update(f), untouched.update(f)
            np.testing.assert_array_equal(faces[0].points, expected[0].points)
            faces[0].points[:] = 0
            faces[0].box[:] = 0


def test_reset_forgets_everybody_but_gives_no_number_twice():
    tracker = make()
    play(tracker, [Disc(RED, 160, 120)])
    tracker.reset()
    assert ids(tracker.update(frame(0, Disc(RED, 160, 120)))) == [2]


def test_trackers_share_networks_but_no_state_and_leave_them_open():
    detector, aligner = DiscDetector(), DiscAligner()
    with Tracker.from_networks(detector, aligner) as one, Tracker.from_networks(detector, aligner) as two:
        assert ids(one.update(frame(0, Disc(RED, 60, 60)))) == [1]
        assert ids(two.update(frame(0, Disc(GREEN, 200, 150)))) == [1]
    assert not detector.closed
    assert not aligner.closed


@pytest.fixture
def loaded(monkeypatch):
    """Stands in for files: what was opened, and how."""
    opened = []

    def open_fake(path, **options):
        opened.append((path, options, DiscDetector() if "detector" in str(path) else DiscAligner()))
        return opened[-1][2]

    monkeypatch.setattr("nasion.realtime.tracker.open_runtime", open_fake)
    monkeypatch.setattr("nasion.realtime.tracker.model_path", Path)
    return opened


def test_a_tracker_closes_the_networks_that_it_loaded(loaded):
    with Tracker() as tracker:
        assert ids(tracker.update(frame(0, Disc(RED, 160, 120)))) == [1]
        assert set(tracker.networks) == {"detector", "landmarks"}
        assert [network.closed for _, _, network in loaded] == [False, False]
    assert [network.closed for _, _, network in loaded] == [True, True]
    with pytest.raises(NasionError, match="closed; make a new one"):
        tracker.update(frame(1))
    tracker.close()


def test_networks_are_closed_where_one_of_them_is_of_the_wrong_kind(loaded):
    with pytest.raises(ModelError, match="give a landmark model"):
        Tracker(model="detector-2")
    assert [network.closed for _, _, network in loaded] == [True, True]


def test_torch_runs_the_network_that_was_named_and_what_ships_beside_it_runs_as_ever(loaded):
    Tracker(model="mine.pt2", runtime="torch", threads=2)
    Tracker(model="mine.pt2", runtime="torch", device="cpu")
    assert [(str(path), options) for path, options, _ in loaded] == [
        ("mine.pt2", {"runtime": "torch", "threads": 2, "device": "auto"}),
        ("face-detector", {"runtime": "auto", "threads": 2, "device": "auto"}),
        ("mine.pt2", {"runtime": "torch", "threads": 1, "device": "cpu"}),
        ("face-detector", {"runtime": "auto", "threads": 1, "device": "cpu"}),
    ]


def test_a_runtime_and_a_device_asked_for_by_name_are_asked_of_all_networks(loaded):
    Tracker(runtime="tensorrt", device="cuda:1")
    assert [options for _, options, _ in loaded] == [{"runtime": "tensorrt", "threads": 1, "device": "cuda:1"}] * 2


def test_what_ships_is_no_file_for_torch_and_that_is_said():
    with pytest.raises(RuntimeUnavailable, match=r"runtime 'torch' runs \.pt2 files, not 'landmarks-68\.onnx'"):
        Tracker(runtime="torch")


def test_networks_in_each_others_place_are_refused():
    with pytest.raises(ModelError, match="give a detector"):
        Tracker.from_networks(DiscAligner(), DiscAligner())
    with pytest.raises(ModelError, match="give a landmark model"):
        Tracker.from_networks(DiscDetector(), DiscDetector())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("picture.jpg", r"given a str; give a nasion\.Frame\(image="),
        (np.zeros((4, 4, 3), np.uint8), "given a ndarray; give a nasion.Frame"),
        (Frame("x", 0.0, 0), "image of a frame is a str; give a numpy array"),
        (
            Frame(np.zeros((4, 4), np.uint8), 0.0, 0),
            r"uint8 of shape \(4, 4\); give BGR uint8 .*COLOR_GRAY2BGR",
        ),
        (Frame(np.zeros((4, 4, 4), np.uint8), 0.0, 0), r"shape \(4, 4, 4\); give BGR"),
        (Frame(np.zeros((4, 4, 3), np.float32), 0.0, 0), "float32 of shape .*; give BGR uint8"),
        (Frame(np.zeros((0, 4, 3), np.uint8), 0.0, 0), r"shape \(0, 4, 3\); give BGR uint8"),
        (Frame(np.zeros((4, 4, 3), np.uint8), float("nan"), 0), "time of a frame is nan; give seconds"),
    ],
)
def test_what_is_no_frame_is_refused_with_what_was_given_and_what_is_allowed(value, message):
    with pytest.raises(NasionError, match=message):
        make().update(value)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"detect_every": 0}, "detect_every=0 is not allowed; give a whole number from 1"),
        ({"detect_every": 2.5}, "detect_every=2.5 is not allowed"),
        ({"detect_every": True}, "detect_every=True is not allowed"),
        ({"detect_size": 8}, "detect_size=8 is not allowed; give a whole number from 32"),
        ({"max_faces": 0}, "max_faces=0 is not allowed; give a whole number from 1"),
        ({"smooth": "lots"}, "smooth='lots' is not allowed; choose from none, light, strong"),
        ({"runtime": "cuda"}, "runtime='cuda' is not allowed; choose from auto, onnx, torch"),
        ({"device": "cuda"}, "device 'cuda' is unknown; allowed: auto, cpu, cuda:N"),
        ({"device": 0}, "device '0' is unknown"),
        ({"threads": -1}, "threads=-1 is not allowed; give a whole number from 0"),
        ({"keep": -1.0}, r"keep=-1\.0 is not allowed; give seconds from 0"),
        ({"keep": float("nan")}, "keep=nan is not allowed"),
        ({"model": ""}, "model='' is not allowed; give a model's name or the path of a file"),
        ({"detector": 3}, "detector=3 is not allowed"),
    ],
)
def test_an_option_that_is_not_allowed_is_named_with_what_is(option, message):
    with pytest.raises(NasionError, match=message):
        TrackerOptions(**option)
    with pytest.raises(NasionError, match=message):
        make(**option)


def test_an_unknown_option_is_named_with_those_that_are_known():
    with pytest.raises(NasionError, match=r"option 'max_face' is unknown; allowed: model, .*max_faces"):
        make(max_face=1)


def test_overrides_change_the_options_given():
    tracker = Tracker.from_networks(DiscDetector(), DiscAligner(), TrackerOptions(keep=3.0), max_faces=2)
    assert tracker.options == TrackerOptions(keep=3.0, max_faces=2)


def test_detect_size_is_the_longer_side_that_the_detector_sees():
    detector = DiscDetector()
    Tracker.from_networks(detector, DiscAligner(), detect_size=160).update(frame(0))
    assert detector.batches == [(1, 3, 128, 160)]
    assert max(SIZE) == 320


def test_a_wrong_model_name_says_which_there_are():
    with pytest.raises(ModelError, match="neither a file nor shipped"):
        Tracker(model="landmarks-9000", detector="landmarks-9000")
