"""Appearance: descriptors that tell faces apart, and what tracks make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nasion.realtime.tracking.appearance import appearance_of, similarity
from nasion.realtime.tracking.observations import Observation
from nasion.realtime.tracking.tracks import LOOKED, TrackManager
from nasion.realtime.values.geometry import Region, box_of

from ...support.fakes.networks import TEMPLATE


@pytest.mark.parametrize("size", [8, 60, 96, 112, 256])
def test_a_descriptor_is_the_mean_colour_of_cells_whatever_the_size_and_light(rng, size):
    cells = rng.normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    rows = np.arange(size) * 8 // size if size % 8 == 0 else None
    crops = cells[:, :, rows][:, :, :, rows] if rows is not None else rng.normal(0, 1, (2, 3, size, size))
    found = appearance_of(crops.astype(np.float32))
    assert found.shape == (2, 192)
    assert found.dtype == np.float32
    np.testing.assert_allclose((found * found).sum(axis=1), 1, rtol=1e-5)
    brighter = appearance_of((crops * 1.7 + 0.3).astype(np.float32))
    np.testing.assert_allclose(brighter, found, atol=1e-5)
    if rows is not None:
        expected = cells - cells.mean(axis=(2, 3), keepdims=True)
        expected = expected.reshape(2, -1) / np.linalg.norm(expected.reshape(2, -1), axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_similarity_is_one_for_the_same_crop_and_unknown_without_one(rng):
    first, second = appearance_of(rng.normal(0, 1, (2, 3, 112, 112)).astype(np.float32))
    assert similarity(first, first) == pytest.approx(1, abs=1e-5)
    assert abs(similarity(first, second)) < 0.5
    assert similarity(first, None) is None


def test_a_flat_crop_has_a_finite_descriptor():
    assert np.isfinite(appearance_of(np.ones((1, 3, 112, 112), np.float32))).all()


LOOKS = np.eye(192, dtype=np.float32)


def observation(x, look, size=60.0, y=100.0):
    points = (TEMPLATE * size / 2 + [x, y]).astype(np.float32)
    appearance = None if look is None else LOOKS[look]
    return Observation(points, np.ones(68, np.float32), 0.9, box_of(points), Region(x, y, size * 1.35), appearance)


def manager_of(*faces, keep=1.5):
    manager = TrackManager(keep=keep)
    manager.associate([observation(x, look) for x, look in faces], 0.0)
    return manager


def follow(manager, time, *found):
    """A frame in which each track sees what is given for it, or nothing."""
    for track, seen in zip(manager.next_frame(), found, strict=True):
        if seen is not None:
            manager.update(track, seen, time)
    manager.separate()


@pytest.mark.parametrize("owner", [0, 1])
def test_of_two_tracks_on_one_face_the_one_whose_face_it_is_keeps_it(owner):
    manager = manager_of((50, 0), (200, 1))
    shared = observation(125, owner)
    for step in range(1, 4):
        follow(manager, step / 30, observation(50 + 20 * step, 0), observation(200 - 20 * step, 1))
    follow(manager, 4 / 30, shared, replace(shared))
    assert [track.id for track in manager.in_sight] == [owner + 1]


def test_a_lost_face_comes_back_where_it_was_only_if_it_looks_like_itself():
    for look, back in ((0, [1]), (5, []), (None, [1])):
        manager = manager_of((50, 0))
        for step in range(1, 5):
            follow(manager, step / 30, None)
        follow(manager, 5 / 30, observation(52, look))
        assert [track.id for track in manager.in_sight] == back, look


def test_a_detected_face_that_looks_like_another_one_is_new():
    for look, number in ((0, 1), (5, 2), (None, 1)):
        manager = manager_of((50, 0))
        for step in range(1, 5):
            follow(manager, step / 30, None)
        manager.associate([observation(60, look)], 5 / 30)
        assert [track.id for track in manager.in_sight] == [number], look


def test_of_two_lost_faces_the_one_that_looks_alike_comes_back_rather_than_the_nearer_one():
    manager = manager_of((50, 0), (110, 1))
    for step in range(1, 5):
        follow(manager, step / 30, None, None)
    manager.associate([observation(90, 0)], 5 / 30)
    assert [track.id for track in manager.in_sight] == [1]


def test_after_a_shot_change_a_face_returns_only_where_place_size_and_appearance_agree():
    for x, look, size, number in ((55, 0, 60, 1), (55, 5, 60, 2), (55, None, 60, 2), (130, 0, 60, 2), (55, 0, 150, 2)):
        manager = manager_of((50, 0))
        manager.end_shot()
        assert manager.next_frame() == [], "not looked for at its place"
        manager.associate([observation(x, look, size)], 1 / 30)
        assert [track.id for track in manager.in_sight] == [number], (x, look, size)


def test_nothing_comes_back_from_far_away_however_long_it_is_kept():
    manager = manager_of((50, 0), keep=100.0)
    for step in range(1, 5):
        follow(manager, step / 30, None)
    manager.associate([observation(50 + 4 * 81, 0)], 50.0)
    assert [track.id for track in manager.in_sight] == [2]


def test_a_moving_face_is_expected_where_its_motion_leads():
    manager = manager_of((50, 0))
    for step in range(1, 6):
        follow(manager, step / 30, observation(50 + 10 * step, 0))
    (track,) = manager.next_frame()
    (place,) = track.places(6 / 30)
    assert place.x == pytest.approx(110, abs=1)
    assert track.last_region.x == 100


def test_a_hidden_face_moves_on_behind_the_one_in_front():
    manager = manager_of((50, 0), (200, 1))
    for step in range(1, 7):
        follow(manager, step / 30, observation(50 + 10 * step, 0), observation(200 - 10 * step, 1))
    shared = observation(125, 1)
    follow(manager, 7 / 30, shared, shared)
    hidden = manager.tracks[0]
    assert hidden.misses
    for _ in range(5):
        manager.next_frame()
    assert hidden.expected(12 / 30).x == pytest.approx(50 + 10 * 12, abs=12)


def test_a_face_that_is_kept_for_long_is_looked_for_only_for_some_seconds():
    manager = manager_of((50, 0), keep=100.0)
    for step in range(1, 100):
        (track,) = manager.next_frame()
        assert track.is_looked_for(step / 30) == (step / 30 <= LOOKED)
    manager.expire(100 / 30)
    assert manager.tracks == [track]
    manager.associate([observation(60, 0)], 100 / 30)
    assert [track.id for track in manager.in_sight] == [1]
