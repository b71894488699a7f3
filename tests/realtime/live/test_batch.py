"""Batch: one call of the networks for all sources, the same results as alone, and errors that concern one source."""

import numpy as np
import pytest

from nasion.engines.errors import NasionError
from nasion.realtime.live.rounds.batch import SHARE, Batch
from nasion.realtime.tracking.aligner import Aligner
from nasion.realtime.tracking.detector import Detector
from nasion.realtime.tracking.requests import Networks
from nasion.realtime.tracking.state import Tracking
from nasion.realtime.tracking.tracker import Tracker, TrackerOptions
from tests.support.fakes.networks import COLOURS, Disc, DiscAligner, DiscDetector, frame

OPTIONS = TrackerOptions(detect_interval=0.5, detect_size=320)


class ManyDetector(DiscDetector):
    """Detector of several images in one call."""

    def __call__(self, images):
        found = [super(ManyDetector, self).__call__(images[i : i + 1]) for i in range(len(images))]
        self.batches[-len(images) :] = [images.shape]
        most = max(each["boxes"].shape[1] for each in found)
        boxes, scores = np.zeros((len(images), most, 4), np.float32), np.zeros((len(images), most), np.float32)
        for i, each in enumerate(found):
            count = each["boxes"].shape[1]
            boxes[i, :count], scores[i, :count] = each["boxes"][0], each["scores"][0]
        return {"boxes": boxes, "scores": scores}


@pytest.fixture
def networks():
    return Networks(Detector(ManyDetector(), size=320), Aligner(DiscAligner()))


def story(source: int, index: int):
    """Return a frame of a video in which a face moves."""
    return frame(index, Disc(COLOURS[source % len(COLOURS)], 80 + 2 * source + index, 120))


def test_results_are_those_of_each_source_alone(networks):
    batch = Batch(networks)
    together = [Tracking.over(networks, OPTIONS, permit=lambda: True) for _ in range(5)]
    alone = [Tracker.from_networks(ManyDetector(), DiscAligner(), OPTIONS) for _ in range(5)]
    for index in range(30):
        outcomes = batch.track([(tracking, story(i, index)) for i, tracking in enumerate(together)])
        assert outcomes == [tracker.update(story(i, index)) for i, tracker in enumerate(alone)]
        assert all(len(faces) == 1 for faces in outcomes)


def test_all_faces_of_all_sources_are_aligned_in_one_call(networks):
    batch = Batch(networks)
    trackers = [Tracking.over(networks, OPTIONS, permit=batch.permits.take) for _ in range(12)]
    for index in range(14):
        batch.track([(tracking, story(i, index)) for i, tracking in enumerate(trackers)])
    calls = batch.calls.aligner
    batch.track([(tracking, story(i, 14)) for i, tracking in enumerate(trackers)])
    assert batch.calls.aligner == calls + 1
    assert batch.calls.batches[12] >= 1
    assert batch.calls.aligned == sum(crops * count for crops, count in batch.calls.batches.items())


def test_sources_that_begin_together_take_turns_at_the_detector(networks):
    batch, sources = Batch(networks), 24
    trackers = [Tracking.over(networks, OPTIONS, permit=batch.permits.take) for _ in range(sources)]
    per_round, seen = [], {}
    for index in range(40):
        before = batch.calls.detected
        outcomes = batch.track([(tracking, story(i, index)) for i, tracking in enumerate(trackers)])
        per_round.append(batch.calls.detected - before)
        for i, faces in enumerate(outcomes):
            if faces:
                seen.setdefault(i, index)
    assert max(per_round) <= sources // SHARE
    assert len(seen) == sources
    assert max(seen.values()) < SHARE, "each has its turn within a few frames"
    assert sum(per_round[15:30]) >= sources, "each detects every half second"


def test_an_error_of_one_source_concerns_no_other(networks, monkeypatch):
    batch = Batch(networks)
    trackers = [Tracking.over(networks, OPTIONS, permit=lambda: True) for _ in range(3)]
    answer = networks.answer

    def fragile(requests):
        if any(hasattr(each, "image") and each.image.image[0, 0, 0] == 255 for each in requests):
            raise RuntimeError("a broken image")
        return answer(requests)

    monkeypatch.setattr(networks, "answer", fragile)
    for index in range(5):
        frames = [story(i, index) for i in range(3)]
        if index == 3:
            frames[1].image[0, 0] = 255
        outcomes = batch.track(list(zip(trackers, frames, strict=True)))
        kinds = [isinstance(each, Exception) for each in outcomes]
        assert kinds == [False, index == 3, False]
        assert all(len(each) == 1 for each in outcomes if isinstance(each, list))


def test_what_is_not_a_frame_is_an_error_of_its_source(networks):
    batch = Batch(networks)
    trackers = [Tracking.over(networks, OPTIONS, permit=lambda: True) for _ in range(2)]
    outcomes = batch.track(list(zip(trackers, (None, story(0, 0)), strict=True)))
    assert isinstance(outcomes[0], NasionError)
    assert len(outcomes[1]) == 1
