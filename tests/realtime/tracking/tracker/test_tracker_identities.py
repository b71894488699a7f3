"""Track IDs: hidden, absent, far and crossing faces, after a shot change, after a reset."""

from __future__ import annotations

import numpy as np
import pytest

from ....support.fakes.disc_stories import ids, make, place, play
from ....support.fakes.networks import GREEN, RED, Disc, backdrop, frame


@pytest.mark.parametrize("hidden", [1, 20])
def test_a_face_that_is_covered_for_a_while_keeps_its_identity(hidden):
    here, gone = [Disc(RED, 150, 120)], []
    back = [Disc(RED, 165, 125)]
    seen = [ids(faces) for faces in play(make(), *[here] * 4, *[gone] * hidden, *[back] * 16)]
    assert seen[:4] == [[1]] * 4
    assert seen[4 : 4 + hidden] == [[]] * hidden
    assert seen[-1] == [1]
    assert [2] not in seen


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


def test_a_frame_of_another_size_that_shows_the_same_changes_nothing():
    tracker = make()
    small, large = backdrop(), backdrop(size=(640, 480))
    assert ids(tracker.update(frame(0, Disc(RED, 160, 120), on=small))) == [1]
    faces = tracker.update(frame(1, Disc(RED, 322, 242, 120), on=large))
    assert ids(faces) == [1]
    np.testing.assert_allclose(place(faces[0]), [322, 242], atol=2)
    assert ids(tracker.update(frame(2, Disc(RED, 160, 120), on=small))) == [1]


@pytest.mark.parametrize(("size", "x", "y"), [((320, 480), 160, 200.5), ((640, 240), 320.5, 100)])
def test_a_stretched_frame_that_shows_the_same_changes_nothing(size, x, y):
    tracker = make()
    assert ids(tracker.update(frame(0, Disc(RED, 160, 100)))) == [1]
    faces = tracker.update(frame(1, Disc(RED, x, y, 90), on=backdrop(size=size)))
    assert ids(faces) == [1]
    np.testing.assert_allclose(place(faces[0]), [x, y], atol=2)


def test_a_frame_of_another_size_that_shows_something_else_is_a_new_shot():
    tracker = make()
    assert ids(tracker.update(frame(0, Disc(RED, 160, 120)))) == [1]
    assert ids(tracker.update(frame(1, Disc(GREEN, 500, 400), on=backdrop(7, size=(640, 480))))) == [2]


def test_reset_forgets_everybody_but_gives_no_number_twice():
    tracker = make()
    play(tracker, [Disc(RED, 160, 120)])
    tracker.reset()
    assert ids(tracker.update(frame(0, Disc(RED, 160, 120)))) == [2]
