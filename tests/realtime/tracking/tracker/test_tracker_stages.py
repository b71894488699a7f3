"""The tracker without networks, told short stories frame by frame; and many trackers answered in one batch."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from nasion.engines.errors import NasionError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.images.pixels import pixels_of
from nasion.realtime.sources import open_source
from nasion.realtime.tracking.aligner import Aligner, Alignments
from nasion.realtime.tracking.detector import Detections, Detector, Views
from nasion.realtime.tracking.options import TrackerOptions
from nasion.realtime.tracking.requests import Align, Detect, Networks
from nasion.realtime.tracking.state import Tracking
from nasion.realtime.tracking.tracker import Tracker
from nasion.realtime.values.geometry import Region, box_of, region_of_points

from ....support.fakes.disc_stories import ids, make
from ....support.fakes.networks import BLUE, GREEN, RED, TEMPLATE, Disc, DiscAligner, DiscDetector, backdrop, frame

GREY = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)


def story():
    scenes = [[Disc(RED, 60 + 3 * i, 120), *([Disc(GREEN, 240, 90, 50)] if i > 12 else [])] for i in range(25)]
    scenes += [[]] * 5 + [[Disc(RED, 150, 120)]] * 15
    frames = [frame(i, *discs) for i, discs in enumerate(scenes)]
    return frames + [frame(len(frames) + i, Disc(BLUE, 150, 100), on=backdrop(9)) for i in range(6)]


def same(left, right):
    assert [ids(faces) for faces in left] == [ids(faces) for faces in right]
    for ours, theirs in zip(left, right, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a.landmarks, b.landmarks)
            np.testing.assert_array_equal(a.box, b.box)


# --- without networks


class Play:
    """A tracker whose every request is noted, and answered with the faces that the test puts before it."""

    def __init__(self, **options):
        self.tracking = Tracking(TrackerOptions(smooth="none", **options), threshold=0.5, views=lambda shape: Views())
        self.asked, self._index = [], 0

    def frame(self, *faces, time=None):
        """Ids in a frame with faces at these centres, each 40 pixels wide."""
        index, self._index = self._index, self._index + 1
        self.asked.append([])
        steps = self.tracking.steps(Frame(GREY, index / 30 if time is None else time, index))
        try:
            request = next(steps)
            while True:
                self.asked[-1].append(type(request).__name__)
                request = steps.send(self._detections(faces) if isinstance(request, Detect) else answer(request, faces))
        except StopIteration as stop:
            return ids(stop.value)

    def _detections(self, faces):
        boxes = np.array([[x - 20, y - 20, x + 20, y + 20] for x, y in faces], np.float32).reshape(-1, 4)
        return Detections(boxes, np.ones(len(faces), np.float32), [Region(x, y, 50) for x, y in faces])


def answer(request: Align, faces) -> Alignments:
    """Each region shows the face whose centre lies within it, or none."""
    points, presence = [], []
    for region in request.regions:
        near = [place for place in faces if max(abs(place[0] - region.x), abs(place[1] - region.y)) < region.side / 2]
        points.append(TEMPLATE * 20 + np.float32(near[0] if near else (region.x, region.y)))
        presence.append(float(bool(near)))
    shape = np.stack(points).astype(np.float32)
    return Alignments(
        shape,
        np.ones(shape.shape[:2], np.float32),
        np.array(presence, np.float32),
        np.stack([box_of(each) for each in shape]),
        [region_of_points(each, margin=1.25) for each in shape],
    )


def test_a_first_frame_detects_and_looks_twice_at_what_is_new():
    play = Play()
    assert play.frame((100, 100)) == [1]
    assert play.asked == [["Detect", "Align", "Align"]]


def test_a_known_face_costs_one_request_a_frame():
    play = Play(detect_interval=10.0)
    play.frame((100, 100))
    for i in range(1, 20):
        assert play.frame((100 + 2 * i, 100)) == [1]
    assert play.asked[1:] == [["Align"]] * 19


def test_all_known_faces_go_into_one_request():
    play = Play()
    places = [(60, 60), (160, 60), (260, 60), (60, 180)]
    assert play.frame(*places) == [1, 2, 3, 4]
    assert play.frame(*places) == [1, 2, 3, 4]
    assert play.asked[1] == ["Align"]


def test_a_lost_face_is_detected_again_in_the_same_frame():
    play = Play()
    play.frame((100, 100))
    assert play.frame() == []
    assert play.asked[1] == ["Align", "Detect"]
    assert play.frame((104, 100)) == [1]


def test_a_face_that_stays_away_longer_than_keep_is_a_new_one():
    play = Play(keep=0.5)
    play.frame((100, 100))
    for i in range(1, 40):
        assert play.frame(time=i / 30) == []
    assert [play.frame((100, 100), time=1.3 + i / 30) for i in range(20)][-1] == [2]


def test_the_detector_is_due_every_so_many_frames():
    play = Play(detect_interval=10 / 30)
    for _ in range(31):
        play.frame((100, 100))
    assert [i for i, asked in enumerate(play.asked) if "Detect" in asked] == [0, 10, 20, 30]


def test_most_faces_are_the_largest_and_no_more():
    play = Play(max_faces=1)
    assert play.frame((60, 60), (200, 100)) == [1]
    assert play.frame((60, 60), (200, 100)) == [1]


def test_a_frame_that_is_none_is_refused_before_anything_is_asked():
    steps = Tracking(TrackerOptions(), threshold=0.5, views=lambda shape: Views()).steps(GREY)
    with pytest.raises(NasionError, match=r"give a nasion\.Frame"):
        next(steps)


# --- answered with networks


def test_search_may_run_ahead_of_follow():
    whole, parts = make(), make()
    networks, frames = parts.networks, story()
    results = [networks.run(parts.tracking.search(f)) for f in frames]
    followed = [networks.run(parts.tracking.follow(f, seen)) for f, seen in zip(frames, results, strict=True)]
    expected = [whole.update(f) for f in frames]
    assert len({face.id for faces in expected for face in faces}) >= 3
    same(expected, followed)


def test_search_in_another_thread_gives_the_same_faces():
    whole, parts = make(), make()
    networks, frames = parts.networks, story()
    searched, ready = [], threading.Semaphore(0)

    def search():
        for f in frames:
            searched.append(networks.run(parts.tracking.search(f)))
            ready.release()

    thread = threading.Thread(target=search)
    thread.start()
    results = []
    for i, f in enumerate(frames):
        assert ready.acquire(timeout=30)
        results.append(networks.run(parts.tracking.follow(f, searched[i])))
    thread.join()
    same([whole.update(f) for f in frames], results)


def test_smoothing_changes_no_identity_and_following_uses_the_raw_points():
    raw, calm = make(smooth="none"), make(smooth="strong")
    for f in story():
        plain, smoothed = raw.update(f), calm.update(f)
        assert ids(plain) == ids(smoothed)
        assert [face.score for face in plain] == [face.score for face in smoothed]


class BatchDetector(DiscDetector):
    """The disc detector for several images at a time: as many slots as any of them needs."""

    def __call__(self, images):
        shape = images.shape
        each = [super(BatchDetector, self).__call__(image[None]) for image in images]
        self.batches[-len(images) :] = [shape]
        most = max(found["scores"].shape[1] for found in each)
        boxes, scores = np.zeros((len(images), most, 4), np.float32), np.zeros((len(images), most), np.float32)
        for i, found in enumerate(each):
            count = found["scores"].shape[1]
            boxes[i, :count], scores[i, :count] = found["boxes"][0], found["scores"][0]
        return {"boxes": boxes, "scores": scores}


def sources(count):
    """Stories of several sources, each with a face that moves in its own way."""
    return [
        [frame(i, Disc(RED, 60 + (2 + k % 3) * i, 60 + 15 * k), Disc(GREEN, 260 - k * i, 200)) for i in range(20)]
        for k in range(count)
    ]


def test_trackers_answered_together_give_what_each_gives_alone():
    stories = sources(8)
    alone = [[tracker.update(f) for f in frames] for frames in stories for tracker in [make()]]
    networks = BatchDetector(), DiscAligner()
    trackers = [Tracker.from_networks(*networks, detect_interval=15 / 30) for _ in stories]
    together = [
        trackers[0].networks.run_together([t.steps(f) for t, f in zip(trackers, tick, strict=True)])
        for tick in zip(*stories, strict=True)
    ]
    for ours, theirs in zip(alone, zip(*together, strict=True), strict=True):
        same(ours, list(theirs))


def test_eight_sources_make_one_call_of_the_aligner_a_tick():
    stories = sources(8)
    detector, aligner = BatchDetector(), DiscAligner()
    trackers = [Tracker.from_networks(detector, aligner, detect_interval=15 / 30) for _ in stories]
    for i, tick in enumerate(zip(*stories, strict=True)):
        aligner.batches.clear()
        detector.batches.clear()
        trackers[0].networks.run_together([t.steps(f) for t, f in zip(trackers, tick, strict=True)])
        if i == 0:  # all are detected in one call for each size, and new faces are looked at twice
            assert [shape[0] for shape in detector.batches] == [8] * 3
            assert len(aligner.batches) == 2
        elif i not in (15,):
            first, *again = [shape[0] for shape in aligner.batches]
            assert first == 16
            assert sum(again) <= (6 if i < 3 else 0), "only faces that set off fast are looked at twice"
            assert detector.batches == []


def test_images_of_different_sizes_are_detected_in_a_call_for_each_size():
    detector = BatchDetector()
    networks = Networks(Detector(detector), Aligner(DiscAligner()))
    images = [frame(0, Disc(RED, 60, 60)).pixels, np.zeros((96, 128, 3), np.uint8), frame(0, Disc(BLUE, 90, 90)).pixels]
    answers = networks.answer([Detect(pixels_of(image)) for image in images])
    assert [len(each) for each in answers] == [1, 0, 1]
    assert sorted(shape[0] for shape in detector.batches) == [1, 2]


def test_a_frame_that_is_refused_ends_the_tick_and_closes_the_others():
    tracker = make()
    good = tracker.steps(frame(0, Disc(RED, 60, 60)))
    with pytest.raises(NasionError, match=r"give a nasion\.Frame"):
        tracker.networks.run_together([good, make().tracking.steps("nothing")])
    assert good.gi_frame is None, "closed"


def test_the_shipped_networks_answer_several_sources_as_one_alone():
    stories = []
    for size in ((320, 240), (480, 360)):
        with open_source("pattern:?seconds=0.5", size=size) as source:
            stories.append(list(source))
    with Tracker(detect_interval=4 / 30) as tracker:
        alone = []
        for frames in stories:
            tracker.reset()
            alone.append([tracker.update(f) for f in frames])
        pair = list(tracker.runtimes.values())
        trackers = [Tracker.from_networks(*pair, detect_interval=4 / 30) for _ in stories]
        ticks = [
            tracker.networks.run_together([t.steps(f) for t, f in zip(trackers, tick, strict=True)])
            for tick in zip(*stories, strict=True)
        ]
    for ours, theirs in zip(alone, zip(*ticks, strict=True), strict=True):
        assert sum(map(len, ours)) >= 10
        for a, b in zip(ours, theirs, strict=True):
            assert len(a) == len(b)
            for one, other in zip(a, b, strict=True):
                assert np.abs(one.landmarks - other.landmarks).max() < 0.01


def test_a_face_needs_the_score_of_the_threshold_in_every_frame():
    class Unsure(Play):
        score = 1.0

        def frame(self, *faces, time=None):
            index, self._index = self._index, self._index + 1
            steps = self.tracking.steps(Frame(GREY, index / 30, index))
            try:
                request = next(steps)
                while True:
                    given = self._detections(faces) if isinstance(request, Detect) else answer(request, faces)
                    if isinstance(given, Alignments):
                        given.scores[:] *= self.score
                    request = steps.send(given)
            except StopIteration as stop:
                return ids(stop.value)

    play = Unsure()
    play.tracking = Tracking(TrackerOptions(smooth="none"), threshold=0.5, views=lambda shape: Views())
    assert play.frame((100, 100)) == [1]
    play.score = 0.3
    assert play.frame((100, 100)) == []
    play.score = 0.6
    assert play.frame((100, 100)) == [1]
