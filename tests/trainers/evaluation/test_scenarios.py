"""Scenes of known truth, and scenarios played with the face in the wheel."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from nasion.engines.select import open_runtime
from nasion.engines.tensorrt.photograph import PHOTOGRAPH
from nasion.engines.zoo import model_path
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.tracking.tracker import Tracker
from nasion.realtime.values.geometry import box_of
from nasion.realtime.values.landmarks import Landmarks
from nasion.realtime.values.published_schemes import IBUG_68
from nasion.trainers.evaluation.scenarios import identities, landmarks
from nasion.trainers.evaluation.scenarios.cast import Cast, watch
from nasion.trainers.evaluation.scenarios.run import SCENARIOS
from nasion.trainers.evaluation.scenarios.scenes import Actor, Placement, Shown, cut_out, paste, play


@pytest.fixture(scope="module")
def networks():
    with open_runtime(model_path("face-detector")) as detector, open_runtime(model_path("landmarks-68")) as aligner:
        yield detector, aligner


@pytest.fixture(scope="module")
def cast(networks):
    """Four heads of one photograph: as it is, mirrored, and both in other colours."""
    photograph = cv2.imread(str(PHOTOGRAPH))
    heads = []
    for image in (photograph, photograph[:, ::-1], photograph[..., ::-1], photograph[:, ::-1, ::-1]):
        image = np.ascontiguousarray(image)
        with Tracker.from_networks(*networks, smooth="none") as tracker:
            (face,) = tracker.update(Frame(image, 0.0, 0))
        heads.append(cut_out(image, np.asarray(face.landmarks)))
    noise = np.random.default_rng(0).uniform(60, 180, (3, 9, 16, 3)).astype(np.float32)
    large = [cv2.resize(each, (640, 360), interpolation=cv2.INTER_CUBIC) for each in noise]
    walls = [each.clip(0, 255).astype(np.uint8) for each in large]
    return Cast(heads, walls, lambda **options: Tracker.from_networks(*networks, **options), networks[1])


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi])
def test_the_truth_is_where_the_face_is_drawn(cast, angle):
    head = cast.heads[0]
    dotted = head.image.copy()
    for x, y in np.rint(head.points).astype(int)[36:48]:
        dotted[y - 2 : y + 3, x - 2 : x + 3] = (0, 255, 0)
    scene = np.full((360, 640, 3), 90, np.uint8)
    points = paste(scene, cut_out(dotted, head.points), Placement(300, 170, 150, angle))
    x0, y0, x1, y1 = box_of(points).tolist()
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((300, 170), abs=40), "the centre of the upright box"
    for x, y in np.rint(points[36:48]).astype(int):
        blue, green, red = scene[y, x].astype(int)
        assert green - max(blue, red) > 60, (x, y)


def test_a_face_beyond_the_border_is_cut_off_and_one_far_away_is_not_drawn(cast):
    scene = np.zeros((100, 160, 3), np.uint8)
    paste(scene, cast.heads[0], Placement(0, 50, 60))
    assert scene[:, :20].any()
    assert not scene[:, 90:].any()
    before = scene.copy()
    paste(scene, cast.heads[0], Placement(900, 900, 60))
    np.testing.assert_array_equal(scene, before)


def test_later_actors_are_in_front_and_a_cover_hides_a_face(cast):
    place = Placement(320, 180, 80)
    ways = [Actor(head, lambda index: place) for head in cast.heads[:2]]
    (both,) = play(ways, cast.photographs[0], frames=1, size=(640, 360))
    (front,) = play(ways[1:], cast.photographs[0], frames=1, size=(640, 360))
    np.testing.assert_array_equal(both.image[160:200, 300:340], front.image[160:200, 300:340])
    hidden = list(play([Actor(cast.heads[0], lambda i: place, {1})], cast.photographs[0], frames=3, size=(640, 360)))
    assert [shown.points[0] is None for shown in hidden] == [False, True, False]


class Given:
    """A tracker that returns what the test gives it."""

    def __init__(self, *faces):
        self._faces = iter(faces)

    def update(self, frame):
        return next(self._faces)


def test_what_is_tracked_is_compared_with_the_truth(cast):
    points = cast.heads[0].points
    eyes = float(np.hypot(*(points[36] - points[45])))

    def face(number, shift):
        moved = (points + np.float32([shift, 0])).astype(np.float32)
        return Face(number, box_of(moved), 1.0, Landmarks(moved, IBUG_68), np.ones(68, np.float32))

    image = np.zeros((8, 8, 3), np.uint8)
    shown = [Shown(image, [points]), Shown(image, [points]), Shown(image, [points]), Shown(image, [None])]
    tracker = Given([face(3, 0.1 * eyes), face(4, 9 * eyes)], [], [face(4, 9 * eyes)], [face(3, 0)])
    seen = list(watch(tracker, shown))
    assert [each.ids for each in seen] == [[3], [None], [None], [None]]
    assert seen[0].errors[0] == pytest.approx(0.1, rel=1e-3)
    assert all(math.isnan(each.errors[0]) for each in seen[1:])


def test_a_face_at_rest_settles(cast):
    assert landmarks.repeated(cast) == {"runs": 8, "largest_move": 0.0, "missed": 0}


def test_a_fast_face_is_followed(cast):
    figures = landmarks.moving(cast, 0.3)
    assert figures["missed"] == 0
    assert figures["identities"] == figures["runs"]
    assert figures["error_p90"] < 6


def test_a_close_up_is_found_and_its_error_compared_with_that_of_the_network(cast):
    """The true landmarks of the photograph are the network's own, so they are within 3 % of themselves."""
    figures = landmarks.close_up(cast, 0.8)
    assert figures == {"runs": 13, "right": 13, "within_3_percent": 13, "network_within_3_percent": 13}


def test_one_disturbed_frame_changes_no_identity(cast):
    assert identities.disturbed(cast) == {"runs": 4, "noise": 4, "black": 4, "scene": 4, "size": 4}


def test_a_hidden_face_is_back_at_once(cast):
    figures = identities.hidden(cast, 30.0)
    assert figures["frames_most"] <= 3
    assert figures["kept"] == figures["runs"]


def test_every_scenario_has_a_docstring_and_a_name():
    assert len(SCENARIOS) == 26
    for name, scenario in SCENARIOS.items():
        assert (getattr(scenario, "func", scenario).__doc__ or "").strip(), name
