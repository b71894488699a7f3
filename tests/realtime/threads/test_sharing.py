"""Pipelines and networks that several threads share."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from nasion.engines.errors import NasionError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.pipeline import Pipeline
from nasion.realtime.tracking.tracker import Tracker

from ...support.fakes.networks import RED, Disc, DiscAligner, DiscDetector, draw
from ...support.fakes.pipelines import FakeSource, FakeTracker, no_thread_is_left

__all__ = ["no_thread_is_left"]  # a fixture that every test uses


def test_threads_that_share_a_pipeline_get_each_frame_once():
    with Pipeline(FakeSource(count=100), FakeTracker()) as frames, ThreadPoolExecutor(3) as pool:
        shares = list(pool.map(lambda _: [frame.index for frame, _ in frames], range(3)))
    assert sorted(index for share in shares for index in share) == list(range(100))


def test_a_tracker_refuses_a_second_thread_while_it_tracks_a_frame():
    entered, go_on = threading.Event(), threading.Event()

    class Slow(DiscAligner):
        def __call__(self, images):
            entered.set()
            assert go_on.wait(30)
            return super().__call__(images)

    image = draw(Disc(RED, 100, 100))
    with Tracker.from_networks(DiscDetector(), Slow()) as tracker:
        thread = threading.Thread(target=tracker.update, args=(Frame(image, 0.0, 0),))
        thread.start()
        assert entered.wait(30)
        with pytest.raises(
            NasionError, match="tracking a frame in another thread; give it the frames of its video one"
        ):
            tracker.update(Frame(image, 0.1, 1))
        go_on.set()
        thread.join()
        assert len(tracker.update(Frame(image, 0.1, 1))) == 1


def test_trackers_in_several_threads_share_networks():
    detector, aligner = DiscDetector(), DiscAligner()
    videos = [[Frame(draw(Disc(RED, 60 + 5 * i + 20 * n, 100)), i / 25, i) for i in range(10)] for n in range(4)]

    def follow(video):
        with Tracker.from_networks(detector, aligner) as tracker:
            return [tracker.update(frame) for frame in video]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(follow, videos)) == [follow(video) for video in videos]
