"""Pipelines: results, errors, live sources and the end of their threads."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter

import numpy as np
import pytest

from nasion.engines.errors import ModelError, NasionError, SourceError
from nasion.realtime import pipeline
from nasion.realtime.faces.frame import Frame
from nasion.realtime.pipeline import Pipeline, track
from nasion.realtime.sources import open_source
from nasion.realtime.threads.channels import Channel
from nasion.realtime.tracking.tracker import Tracker

from ..conftest import ROOT
from ..support.fakes.networks import DiscAligner, DiscDetector
from ..support.fakes.pipelines import IMAGE, FakeSource, FakeTracker, info, no_thread_is_left, stages

__all__ = ["no_thread_is_left"]  # a fixture that every test uses


def test_results_are_those_of_the_tracker_called_frame_by_frame():
    tracker = FakeTracker()
    expected = [(frame.index, tracker.update(frame)[0].landmarks.tolist()) for frame in FakeSource(count=200)]
    with Pipeline(FakeSource(count=200), FakeTracker()) as frames:
        got = [(frame.index, faces[0].landmarks.tolist()) for frame, faces in frames]
    assert got == expected


def test_a_file_waits_for_a_slow_reader_and_loses_nothing():
    source = FakeSource(count=30)
    seen = []
    with Pipeline(source, FakeTracker()) as frames:
        for frame, _ in frames:
            seen.append(frame.index)
            time.sleep(0.002)
    assert seen == list(range(30))
    assert frames.dropped == 0


def test_the_end_closes_source_and_tracker_once_and_asking_further_ends_again():
    source, tracker = FakeSource(), FakeTracker()
    frames = Pipeline(source, tracker)
    assert len(list(frames)) == 20
    assert stages() == []
    assert list(frames) == []
    frames.close()
    assert (source.closed, tracker.closed) == (1, 1)


def test_no_thread_starts_before_the_first_frame_is_asked_for():
    with Pipeline(FakeSource(), FakeTracker()) as frames:
        assert stages() == []
        next(frames)
        assert stages() != []
    assert list(frames) == []


def test_an_empty_source_gives_no_frames():
    assert list(Pipeline(FakeSource(count=0), FakeTracker())) == []


def test_a_source_that_fails_gives_its_good_frames_first_and_then_its_error():
    source, tracker = FakeSource(fails_at=7), FakeTracker()
    seen = []
    with pytest.raises(SourceError, match="frame 7 is damaged"):  # noqa: PT012 - the frames before it count
        for frame, _ in Pipeline(source, tracker):
            seen.append(frame.index)
    assert seen == list(range(7))
    assert stages() == []
    assert (source.closed, tracker.closed) == (1, 1)


@pytest.mark.parametrize("live", [False, True])
def test_a_tracker_that_fails_stops_all_and_is_raised_with_its_traceback(live):
    # the live source falls silent after the failure: only closing it ends the read
    source = FakeSource(count=10_000_000, live=live)
    tracker = FakeTracker(fails=True)
    frames = Pipeline(source, tracker)
    if live:
        tracker.update = fail_at_once
    with pytest.raises(ZeroDivisionError, match="tracking failed") as caught:
        list(frames)
    lines = "".join(traceback.format_exception(caught.value))
    assert f"in {'fail_at_once' if live else 'update'}\n" in lines
    assert lines.count("Traceback") == 1
    assert stages() == []
    assert source.closed == 1


def fail_at_once(frame):
    """Fail on the first frame: a live source may drop the fifth."""
    raise ZeroDivisionError("tracking failed")


def test_a_failure_reaches_the_caller_while_the_source_is_blocked():
    source = FakeSource(blocks_at=1)
    tracker = FakeTracker()
    tracker.update = fail_at_once
    with pytest.raises(ZeroDivisionError):
        list(Pipeline(source, tracker))
    assert source.closed == 1


@pytest.mark.parametrize("live", [False, True])
def test_leaving_the_loop_early_stops_every_thread(live):
    source = FakeSource(count=10_000_000, live=live)
    for frame, _ in Pipeline(source, FakeTracker()):
        if frame.index >= 3:
            break
    del frame
    gc.collect()
    assert stages() == []
    assert source.closed == 1


def test_a_pipeline_without_references_ends_by_itself():
    source = FakeSource(blocks_at=2)
    frames = Pipeline(source, FakeTracker())
    next(frames)
    assert stages() != []
    del frames
    gc.collect()
    assert stages() == []
    assert source.closed == 1


def test_a_pipeline_never_iterated_is_closed_too():
    source, tracker = FakeSource(), FakeTracker()
    frames = Pipeline(source, tracker)
    del frames
    gc.collect()
    assert (source.closed, tracker.closed) == (1, 1)


def test_closing_from_another_thread_ends_the_loop():
    source = FakeSource(blocks_at=3)
    frames = Pipeline(source, FakeTracker())
    closer = threading.Thread(target=lambda: (source.blocked.wait(10), frames.close()))
    closer.start()
    assert len(list(frames)) <= 3
    closer.join()
    assert source.closed == 1


def test_an_exception_of_the_reader_stops_every_thread():
    source = FakeSource(count=10_000_000)
    with pytest.raises(KeyboardInterrupt), Pipeline(source, FakeTracker()) as frames:  # noqa: PT012
        next(frames)
        raise KeyboardInterrupt
    assert stages() == []
    assert source.closed == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals reach a waiting thread on POSIX only")
def test_ctrl_c_while_waiting_for_a_silent_source_stops_every_thread():
    source = FakeSource(blocks_at=0)
    frames = Pipeline(source, FakeTracker())

    def interrupt():
        assert source.blocked.wait(10)
        wait_until(lambda: len(stages()) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        next(frames)
    sender.join()
    assert stages() == []
    assert source.closed == 1


class Paced:
    """A live source that hands out one frame each time the test says so."""

    def __init__(self):
        self.info = info(live=True)
        self.go = threading.Semaphore(0)
        self.taken = threading.Semaphore(0)

    def __iter__(self):
        for i in range(1000):
            self.go.acquire()
            yield Frame(IMAGE, i / 25, i)
            self.taken.release()  # the pipeline has taken it and comes for the next

    def feed(self, count):
        for _ in range(count):
            self.go.release()
            assert self.taken.acquire(timeout=10)

    def close(self):
        self.go.release(2000)


def test_a_live_source_gives_a_slow_reader_the_newest_frame_and_counts_the_dropped():
    source, tracker = Paced(), FakeTracker()
    with Pipeline(source, tracker) as frames:
        feeder = threading.Thread(target=source.feed, args=(1,))
        feeder.start()
        first, _ = next(frames)  # taking it lets the next be begun
        feeder.join()
        source.feed(1)
        wait_until(lambda: tracker.updates == 2)
        source.feed(10)  # the reader is busy: all but the newest of these are dropped
        second, _ = next(frames)
        third, _ = next(frames)
        assert (first.index, second.index, third.index) == (0, 1, 11)
        assert frames.dropped == 9


def wait_until(true, seconds=10):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


def test_what_a_live_source_drops_and_gives_adds_up():
    source = FakeSource(count=300, live=True)
    with Pipeline(source, FakeTracker()) as frames:
        seen = [frame.index for frame, _ in frames]
    assert seen == sorted(seen)
    assert seen[-1] == 299
    assert len(seen) + frames.dropped == 300


def test_timings_count_every_frame_of_every_stage():
    tracker = Tracker.from_networks(DiscDetector(), DiscAligner())
    with Pipeline(open_source("pattern:?seconds=0.5"), tracker) as frames:
        count = sum(1 for _ in frames)
    assert {name: stage.count for name, stage in frames.timings.summary().items()} == dict.fromkeys(
        ("decode", "detect", "align", "track"), count
    )


def test_a_script_that_ends_with_a_pipeline_open_exits():
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.realtime.test_pipeline import FakeSource, FakeTracker, Pipeline\n"
        "frames = Pipeline(FakeSource(count=10_000_000), FakeTracker())\n"
        "print(next(frames)[0].index)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_a_frame_is_handed_over_twice(monkeypatch):
    channels = []  # of each hand-over: what the threads cost is that, times their number
    put = Channel.put
    monkeypatch.setattr(Channel, "put", lambda channel, item: channels.append(id(channel)) or put(channel, item))
    with Pipeline(FakeSource(count=200), FakeTracker()) as frames:
        assert sum(1 for _ in frames) == 200
    assert sorted(Counter(channels).values()) == [200, 200]


def test_an_unknown_option_is_named_with_those_allowed_before_anything_is_opened():
    with pytest.raises(
        NasionError, match=r"option 'detect_intervall' is unknown; did you mean 'detect_interval'\?"
    ) as error:
        track("nowhere.mp4", detect_intervall=5)
    assert "start, end, size, fps, timeout" in str(error.value)
    assert "max_faces" in str(error.value)


def test_a_wrong_value_is_refused_before_anything_is_opened():
    with pytest.raises(NasionError, match=r"detect_interval=-1 is not allowed"):
        track("nowhere.mp4", detect_interval=-1)


def test_a_missing_source_is_an_error_of_the_call_and_not_of_the_loop():
    with pytest.raises(SourceError, match=r"'nowhere\.mp4' does not exist"):
        track("nowhere.mp4")


def test_a_missing_model_is_an_error_of_the_call_and_closes_the_source(monkeypatch):
    source = FakeSource()
    monkeypatch.setattr(pipeline, "open_source", lambda *_, **__: source)
    with pytest.raises(ModelError, match="'nothing' is neither a file nor the name of a network"):
        track("some.mp4", model="nothing", detector="nothing")
    assert source.closed == 1


def test_track_gives_what_the_shipped_tracker_gives_frame_by_frame():
    pattern = "pattern:?seconds=1.5"
    with open_source(pattern) as source, Tracker(detect_interval=7 / 30) as tracker:
        expected = [(frame.index, tracker.update(frame)) for frame in source]
    got = [(frame.index, faces) for frame, faces in track(pattern, detect_interval=7 / 30)]
    assert [index for index, _ in got] == [index for index, _ in expected]
    assert sum(len(faces) for _, faces in got) >= 40
    for (_, faces), (_, same) in zip(got, expected, strict=True):
        assert [face.id for face in faces] == [face.id for face in same]
        for face, twin in zip(faces, same, strict=True):
            np.testing.assert_array_equal(face.landmarks, twin.landmarks)
            np.testing.assert_array_equal(face.confidence, twin.confidence)
