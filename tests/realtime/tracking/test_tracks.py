from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasion.realtime.geometry import Region, box_of
from nasion.realtime.tracking.tracks import Identities, Look, greedy

from ...support.fake_networks import TEMPLATE


def look(x, y=100.0, size=60.0):
    points = (TEMPLATE * size / 2 + [x, y]).astype(np.float32)
    return Look(points, np.ones(68, np.float32), 0.9, box_of(points), Region(x, y, size * 1.35))


def numbers(people):
    return [person.id for person in people]


def known(*places, keep=1.5, max_faces=None):
    """Identities that have just met faces at these places, at time 0."""
    identities = Identities(keep=keep, max_faces=max_faces)
    identities.meet([look(x) for x in places], 0.0)
    return identities


def miss(identities, frames, time=0.0):
    for _ in range(frames):
        identities.next_frame()
    identities.forget(time)


def test_faces_are_born_with_numbers_from_one():
    identities = known(50, 200)
    assert numbers(identities.in_sight) == [1, 2]
    face = identities.in_sight[1].face(None, "")
    assert (face.id, face.score) == (2, 0.9)
    assert face.landmarks.shape == (68, 2)


def test_a_face_not_seen_is_looked_for_in_one_more_frame_and_then_no_more():
    identities = known(50)
    assert numbers(identities.next_frame()) == [1]
    assert identities.in_sight == []
    assert numbers(identities.next_frame()) == [1]
    assert identities.next_frame() == []


def test_who_is_seen_again_in_time_is_the_same_and_else_another():
    for gone, number in ((0.4, 1), (1.0, 2)):
        identities = known(50, keep=0.5)
        miss(identities, 5, gone)
        identities.meet([look(55)], gone)
        assert numbers(identities.in_sight) == [number]


def test_the_longer_a_face_is_away_the_farther_it_may_have_gone():
    for gone, away, number in ((0.05, 45, 1), (0.05, 80, 2), (1.0, 120, 1), (1.0, 180, 2)):
        identities = known(50)
        miss(identities, 3, gone)
        identities.meet([look(50 + away)], gone)
        assert numbers(identities.in_sight) == [number], (gone, away)


@pytest.mark.parametrize(("size", "number"), [(60, 1), (90, 1), (40, 1), (150, 2), (25, 2)])
def test_a_face_of_another_size_is_another_face(size, number):
    identities = known(50)
    miss(identities, 3, 0.1)
    identities.meet([look(52, size=size)], 0.1)
    assert numbers(identities.in_sight) == [number]


def test_of_several_that_return_each_takes_the_nearest_place():
    identities = known(50, 130, 210)
    miss(identities, 3, 0.1)
    identities.meet([look(205), look(58), look(131)], 0.1)
    assert {person.id: person.look.region.x for person in identities.in_sight} == {1: 58, 2: 131, 3: 205}


def test_one_gone_for_long_takes_nobody_elses_place():
    identities = known(0, 82)
    for step in range(1, 14):
        identities.next_frame()
        identities.people[1].seen(look(82), step / 10)
    identities.next_frame()  # the second is missed for one frame, the first has been gone for over a second
    identities.meet([look(42)], 1.4)
    assert numbers(identities.in_sight) == [2]


def test_a_face_within_another_is_no_other():
    identities = known(50)
    inner, outer = look(52, size=36), look(50, size=90)
    for found in (inner, outer):
        identities.meet([found], 0.0)
        assert numbers(identities.in_sight) == [1]
    identities = known(50, 150)
    walk(identities, [50] * 3, [150, 90, 56], frames=3)
    assert numbers(identities.in_sight) == [1]


def test_a_small_face_beside_a_large_one_is_another():
    identities = Identities(keep=1)
    identities.meet([look(50, size=90), look(95, size=36)], 0.0)
    assert numbers(identities.in_sight) == [1, 2]


def test_a_face_on_one_that_is_in_sight_is_no_other():
    identities = known(50)
    identities.meet([look(55), look(60)], 0.0)
    assert numbers(identities.in_sight) == [1]
    identities.meet([look(100)], 0.0)
    assert numbers(identities.in_sight) == [1, 2]


def test_the_detector_sees_strangers_where_no_followed_face_explains_what_it_sees():
    identities = known(50, 200)
    regions = [Region(204, 98, 80), Region(300, 60, 40), Region(52, 103, 90), Region(310, 200, 70)]
    assert identities.strangers(regions) == [regions[3], regions[1]]
    assert Identities(keep=1).strangers(regions) == sorted(regions, key=lambda region: -region.side)
    assert identities.strangers([]) == []


def test_one_followed_face_explains_one_detection_only():
    identities = known(50)
    near = [Region(53, 100, 80), Region(75, 100, 80)]
    assert identities.strangers(near) == [near[1]]


def test_one_who_is_out_of_sight_explains_nothing():
    identities = known(50)
    identities.next_frame()
    region = Region(50, 100, 81)
    assert identities.strangers([region]) == [region]


def walk(identities, *paths, frames=10):
    """Move all followed faces along their paths, one place a frame."""
    for i in range(frames):
        for person, path in zip(identities.next_frame(), paths, strict=True):
            person.seen(look(path[i]), (i + 1) / 30)
        identities.part()


def test_of_two_faces_that_have_come_to_lie_on_one_the_one_that_leapt_there_is_let_go():
    for first, second in ((0, 1), (1, 0)):
        steady = [50 + 2 * i for i in range(1, 11)]
        leaping = [*[120 - 2 * i for i in range(1, 10)], 71]
        paths, starts = [steady, leaping], [50, 120]
        identities = known(starts[first], starts[second])
        walk(identities, paths[first], paths[second])
        assert numbers(identities.in_sight) == [1 + first], "the steady one stays"


def test_where_neither_leapt_the_younger_is_let_go_but_not_forgotten():
    identities = known(50, 130)
    approach = [130 - 7.0 * i for i in range(1, 11)]
    walk(identities, [50.0] * 9, approach, frames=9)
    assert numbers(identities.in_sight) == [1]
    assert numbers(identities.people) == [1, 2]
    identities.meet([look(100)], 0.4)
    assert numbers(identities.in_sight) == [1, 2]


def test_two_faces_side_by_side_are_both_kept():
    identities = known(50, 90)
    walk(identities, [50] * 5, [90] * 5, frames=5)
    assert numbers(identities.in_sight) == [1, 2]


def test_no_more_than_max_faces_are_followed_and_who_is_followed_goes_first():
    identities = known(50, 150, 250, max_faces=2)
    assert numbers(identities.in_sight) == [1, 2]
    assert identities.room == 0
    identities.next_frame()
    identities.people[0].seen(look(50), 0.1)
    assert identities.room == 1
    identities.meet([look(300)], 0.1)
    assert numbers(identities.in_sight) == [1], "the second has been missed but once: its place is kept"
    identities.meet([look(152)], 0.1)
    assert numbers(identities.in_sight) == [1, 2]


def test_a_place_left_free_for_good_is_taken_by_another():
    identities = known(50, max_faces=1)
    miss(identities, 2, 0.1)
    identities.meet([look(300)], 0.1)
    assert numbers(identities.in_sight) == [2]
    identities.meet([look(50)], 0.1)
    assert numbers(identities.in_sight) == [2], "and the first, when it comes back, finds no room"


def test_a_cut_drops_everybody_and_no_number_is_given_twice():
    identities = known(50, 200)
    identities.clear()
    assert identities.people == []
    identities.meet([look(50)], 0.0)
    assert numbers(identities.in_sight) == [3]


def test_a_clock_that_is_set_back_does_not_keep_the_dead():
    identities = Identities(keep=1.0)
    identities.meet([look(50)], 100.0)
    miss(identities, 3, 5.0)
    assert identities.people == []


def test_two_groups_of_identities_know_nothing_of_each_other():
    known(50, 200)
    assert numbers(known(50).in_sight) == [1]


def test_pairs_are_made_from_the_cheapest_and_each_side_is_used_once():
    cost = np.array([[0.1, 0.2, 9], [0.05, 0.9, 9], [9, 0.3, 0.6]], np.float32)
    assert greedy(cost, limit=1.0) == [(1, 0), (0, 1), (2, 2)]
    assert greedy(cost, limit=0.1) == [(1, 0)]
    assert greedy(np.zeros((0, 3), np.float32), limit=1) == []


@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), min_size=1, max_size=6))
def test_no_unused_pair_would_have_been_cheaper_than_those_it_loses_to(rows):
    cost = np.array(rows, np.float32)
    pairs = greedy(cost, limit=0.5)
    by_row, by_column = dict(pairs), {column: row for row, column in pairs}
    assert len(by_row) == len(by_column) == len(pairs)
    for row, column in np.argwhere(cost <= 0.5).tolist():
        rivals = [cost[row, by_row[row]]] if row in by_row else []
        rivals += [cost[by_column[column], column]] if column in by_column else []
        assert rivals
        assert min(rivals) <= cost[row, column]


@pytest.mark.parametrize("step", [0.0, 1e-6])
def test_where_the_clock_does_not_advance_frames_count_as_thirtieths_of_a_second(step):
    identities = known(50, keep=1.0)
    gone = 0
    while identities.people:
        gone += 1
        identities.next_frame()
        identities.forget(gone * step)
        assert gone < 100
    assert 30 <= gone <= 34


def test_a_face_let_go_in_the_present_frame_has_been_gone_for_no_time():
    identities = known(50, 200)
    identities.next_frame()
    for person in identities.people:
        person.seen(look(100), 0.1)
    identities.part()
    (lost,) = [person for person in identities.people if person.misses]
    assert lost.gone(0.1) == 0
    identities.next_frame()
    assert lost.gone(0.1 + 1 / 1000) == pytest.approx(1 / 1000)
