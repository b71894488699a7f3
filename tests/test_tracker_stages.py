"""The tracker's stages by themselves: search, follow and smooth say together what ``update`` says."""

from __future__ import annotations

import threading
from itertools import chain

import numpy as np

from .disc_stories import ids, make
from .fake_networks import BLUE, GREEN, RED, Disc, backdrop, frame


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
