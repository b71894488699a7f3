from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasion.realtime.tracking.observations import Observation
from nasion.realtime.tracking.tracks import TrackManager, greedy
from nasion.realtime.values.geometry import Region, box_of

from ...support.fakes.networks import TEMPLATE


def observation(x, y=100.0, size=60.0):
    points = (TEMPLATE * size / 2 + [x, y]).astype(np.float32)
    return Observation(points, np.ones(68, np.float32), 0.9, box_of(points), Region(x, y, size * 1.35))


def numbers(tracks):
    return [track.id for track in tracks]


def known(*places, keep=1.5, max_faces=None):
    """TrackManager that have just met faces at these places, at time 0."""
    manager = TrackManager(keep=keep, max_faces=max_faces)
    manager.associate([observation(x) for x in places], 0.0)
    return manager


def miss(manager, frames, time=0.0):
    for _ in range(frames):
        manager.next_frame()
    manager.expire(time)


def test_faces_are_born_with_numbers_from_one():
    manager = known(50, 200)
    assert numbers(manager.in_sight) == [1, 2]
    track = manager.in_sight[1]
    assert (track.id, track.observation.score) == (2, 0.9)
    assert track.observation.points.shape == (68, 2)


def test_a_face_not_seen_is_looked_for_until_its_track_expires():
    manager = known(50)
    for index in range(4):
        assert numbers(manager.next_frame()) == [1]
        assert manager.in_sight == []
        manager.expire(0.5 * index)
    manager.next_frame()
    manager.expire(2.0)
    assert manager.next_frame() == []


def test_who_is_seen_again_in_time_is_the_same_and_else_another():
    for gone, number in ((0.4, 1), (1.0, 2)):
        manager = known(50, keep=0.5)
        miss(manager, 5, gone)
        manager.associate([observation(55)], gone)
        assert numbers(manager.in_sight) == [number]


def test_the_longer_a_face_is_away_the_farther_it_may_have_gone():
    for gone, away, number in ((0.05, 45, 1), (0.05, 80, 2), (1.0, 120, 1), (1.0, 180, 2)):
        manager = known(50)
        miss(manager, 3, gone)
        manager.associate([observation(50 + away)], gone)
        assert numbers(manager.in_sight) == [number], (gone, away)


@pytest.mark.parametrize(("size", "number"), [(60, 1), (90, 1), (40, 1), (150, 2), (25, 2)])
def test_a_face_of_another_size_is_another_face(size, number):
    manager = known(50)
    miss(manager, 3, 0.1)
    manager.associate([observation(52, size=size)], 0.1)
    assert numbers(manager.in_sight) == [number]


def test_of_several_that_return_each_takes_the_nearest_place():
    manager = known(50, 130, 210)
    miss(manager, 3, 0.1)
    manager.associate([observation(205), observation(58), observation(131)], 0.1)
    assert {track.id: track.observation.region.x for track in manager.in_sight} == {1: 58, 2: 131, 3: 205}


def test_a_face_gone_for_long_takes_the_place_of_no_other():
    manager = known(0, 82)
    for step in range(1, 14):
        manager.next_frame()
        manager.tracks[1].seen(observation(82), step / 10)
    manager.next_frame()  # the second is missed for one frame, the first has been gone for over a second
    manager.associate([observation(42)], 1.4)
    assert numbers(manager.in_sight) == [2]


def test_a_face_within_another_is_not_another():
    manager = known(50)
    inner, outer = observation(52, size=36), observation(50, size=90)
    for found in (inner, outer):
        manager.associate([found], 0.0)
        assert numbers(manager.in_sight) == [1]
    manager = known(50, 150)
    walk(manager, [50] * 3, [150, 90, 56], frames=3)
    assert numbers(manager.in_sight) == [1]


def test_a_small_face_beside_a_large_one_is_another():
    manager = TrackManager(keep=1)
    manager.associate([observation(50, size=90), observation(95, size=36)], 0.0)
    assert numbers(manager.in_sight) == [1, 2]


def test_a_face_on_one_that_is_in_sight_is_not_another():
    manager = known(50)
    manager.associate([observation(55), observation(60)], 0.0)
    assert numbers(manager.in_sight) == [1]
    manager.associate([observation(100)], 0.0)
    assert numbers(manager.in_sight) == [1, 2]


def test_the_detector_sees_strangers_where_no_followed_face_explains_what_it_sees():
    manager = known(50, 200)
    regions = [Region(204, 98, 80), Region(300, 60, 40), Region(52, 103, 90), Region(310, 200, 70)]
    assert manager.unmatched(regions) == [regions[3], regions[1]]
    assert TrackManager(keep=1).unmatched(regions) == sorted(regions, key=lambda region: -region.side)
    assert manager.unmatched([]) == []


def test_one_followed_face_explains_one_detection_only():
    manager = known(50)
    near = [Region(53, 100, 80), Region(75, 100, 80)]
    assert manager.unmatched(near) == [near[1]]


def test_one_who_is_out_of_sight_explains_nothing():
    manager = known(50)
    manager.next_frame()
    region = Region(50, 100, 81)
    assert manager.unmatched([region]) == [region]


def walk(manager, *paths, frames=10):
    """Move all followed faces along their paths, one place a frame."""
    for i in range(frames):
        for track, path in zip(manager.next_frame(), paths, strict=True):
            track.seen(observation(path[i]), (i + 1) / 30)
        manager.separate()


def test_of_two_faces_that_have_come_to_lie_on_one_the_one_that_leapt_there_is_let_go():
    for first, second in ((0, 1), (1, 0)):
        steady = [50 + 2 * i for i in range(1, 11)]
        leaping = [*[120 - 2 * i for i in range(1, 10)], 71]
        paths, starts = [steady, leaping], [50, 120]
        manager = known(starts[first], starts[second])
        walk(manager, paths[first], paths[second])
        assert numbers(manager.in_sight) == [1 + first], "the steady one stays"


def test_where_neither_leapt_the_younger_is_let_go_but_not_forgotten():
    manager = known(50, 130)
    approach = [130 - 7.0 * i for i in range(1, 11)]
    walk(manager, [50.0] * 9, approach, frames=9)
    assert numbers(manager.in_sight) == [1]
    assert numbers(manager.tracks) == [1, 2]
    manager.associate([observation(100)], 0.4)
    assert numbers(manager.in_sight) == [1, 2]


def test_two_faces_side_by_side_are_both_kept():
    manager = known(50, 90)
    walk(manager, [50] * 5, [90] * 5, frames=5)
    assert numbers(manager.in_sight) == [1, 2]


def test_no_more_than_max_faces_are_followed_and_who_is_followed_goes_first():
    manager = known(50, 150, 250, max_faces=2)
    assert numbers(manager.in_sight) == [1, 2]
    assert manager.room == 0
    manager.next_frame()
    manager.tracks[0].seen(observation(50), 0.1)
    assert manager.room == 1
    manager.associate([observation(300)], 0.1)
    assert numbers(manager.in_sight) == [1], "the second has been missed but once: its place is kept"
    manager.associate([observation(152)], 0.1)
    assert numbers(manager.in_sight) == [1, 2]


def test_a_place_left_free_for_good_is_taken_by_another():
    manager = known(50, max_faces=1)
    miss(manager, 2, 0.1)
    manager.associate([observation(300)], 0.1)
    assert numbers(manager.in_sight) == [2]
    manager.associate([observation(50)], 0.1)
    assert numbers(manager.in_sight) == [2], "and the first, when it comes back, finds no room"


def test_a_cut_drops_everybody_and_no_number_is_given_twice():
    manager = known(50, 200)
    manager.clear()
    assert manager.tracks == []
    manager.associate([observation(50)], 0.0)
    assert numbers(manager.in_sight) == [3]


def test_a_clock_that_is_set_back_does_not_keep_the_dead():
    manager = TrackManager(keep=1.0)
    manager.associate([observation(50)], 100.0)
    miss(manager, 3, 5.0)
    assert manager.tracks == []


def test_two_groups_of_identities_know_nothing_of_each_other():
    known(50, 200)
    assert numbers(known(50).in_sight) == [1]


def test_a_face_of_low_score_continues_a_lost_track_but_creates_none():
    manager = TrackManager(keep=1.0, least_new=0.15)
    poor = replace(observation(50), score=0.1)
    manager.associate([poor], 0.0)
    assert manager.tracks == []
    manager.associate([observation(50)], 0.0)
    miss(manager, 3, 0.1)
    manager.associate([poor], 0.1)
    assert numbers(manager.in_sight) == [1]


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
    manager = known(50, keep=1.0)
    gone = 0
    while manager.tracks:
        gone += 1
        manager.next_frame()
        manager.expire(gone * step)
        assert gone < 100
    assert 30 <= gone <= 34


def test_a_face_let_go_in_the_present_frame_has_been_gone_for_no_time():
    manager = known(50, 200)
    manager.next_frame()
    for track in manager.tracks:
        track.seen(observation(100), 0.1)
    manager.separate()
    (lost,) = [track for track in manager.tracks if track.misses]
    assert lost.gone(0.1) == 0
    manager.next_frame()
    assert lost.gone(0.1 + 1 / 1000) == pytest.approx(1 / 1000)
