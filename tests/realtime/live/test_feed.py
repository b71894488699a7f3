"""Feeds under simulated time: what is lost is restored, what is blocked holds nothing."""

import logging
import threading
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasion.engines.errors import SourceError
from nasion.realtime.live.connection import BackOff
from nasion.realtime.live.feed import Feed
from nasion.realtime.live.specs import SourceSpec
from nasion.realtime.sources.base import Arrival
from tests.support.live.simulation import ScriptedSource, SimulatedClock

CAMERA = SourceSpec("rtsp://user:hunter2@camera/live", "door")


def feed_of(clock, opener, spec=CAMERA, **options):
    return Feed(spec, "door", opener, timeout=3.0, clock=clock, back_off=BackOff(random=Random(0)), **options)


def run(feed):
    feed._reading = 1
    feed.run(1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["refused", "broken", "ended"]), st.integers(1, 40)), max_size=12))
def test_a_live_source_is_restored_after_any_sequence_of_faults(faults):
    clock, opened = SimulatedClock(), []
    script = [*faults, ("last", 10)]

    def opener():
        kind, frames = script[len(opened)] if len(opened) < len(script) else ("last", 1)
        opened.append(kind)
        if kind == "refused":
            raise SourceError("camera: connection refused")
        if kind == "last":
            feed.stop()
        return ScriptedSource(clock, frames, error="camera: reset by peer" if kind == "broken" else "")

    feed = feed_of(clock, opener)
    run(feed)
    assert opened == [kind for kind, _ in script]
    connections = [kind for kind, _ in faults if kind != "refused"]
    assert feed.connection.losses == len(connections)
    assert feed.connection.reconnects == max(len(connections) - 1, 0)  # the last one is stopped before it counts
    assert feed.received == sum(frames for kind, frames in faults if kind != "refused")
    assert feed.dropped == max(feed.received - 1, 0)  # stopping discards the one that waits
    # the delay before each attempt is at most 4 s, so an outage ends within it
    assert clock.now - 1000 <= 4 * len(script) + feed.received / 30 + 1


def test_only_the_newest_frame_waits_and_the_others_are_counted():
    clock = SimulatedClock()
    feed = feed_of(clock, lambda: ScriptedSource(clock, 10), SourceSpec("pattern:live"))
    run(feed)
    assert feed.take().frame.index == 9
    assert feed.take() is None
    assert (feed.received, feed.dropped, feed.connection.state) == (10, 9, "ended")


def test_a_file_is_played_at_its_own_pace_and_ends():
    clock = SimulatedClock()
    source = ScriptedSource(clock, 31, live=False, every=0.1)
    feed = feed_of(clock, lambda: source, SourceSpec("pattern:"))
    run(feed)
    assert clock.now - 1000 == pytest.approx(3.1)  # the end is found when another frame would be due
    assert feed.take().at - 1000 == pytest.approx(3.0)
    assert feed.connection.state == "ended"
    assert source.is_closed


def test_a_damaged_file_ends_with_its_reason_and_is_not_tried_again(caplog):
    clock, opened = SimulatedClock(), []

    def opener():
        opened.append(1)
        raise SourceError("film.mp4: damaged")

    feed = feed_of(clock, opener, SourceSpec("pattern:"))
    run(feed)
    assert (feed.connection.state, feed.connection.reason, len(opened)) == ("ended", "film.mp4: damaged", 1)
    assert "damaged" in caplog.text


def test_a_loss_is_reported_once_however_many_attempts_fail(caplog):
    clock, opened = SimulatedClock(), []

    def opener():
        opened.append(1)
        if len(opened) == 30:
            feed.stop()
        if len(opened) in (1, 30):
            return ScriptedSource(clock, 5, error="camera: reset by peer")
        raise SourceError("camera: connection refused")

    feed = feed_of(clock, opener)
    with caplog.at_level(logging.WARNING):
        run(feed)
    assert [record.getMessage() for record in caplog.records] == [
        "door: camera: reset by peer; trying again until it answers",
    ]


def test_without_reconnection_a_lost_source_has_ended():
    clock = SimulatedClock()
    feed = feed_of(clock, lambda: ScriptedSource(clock, 5, error="camera: reset"), reconnect=False)
    run(feed)
    assert (feed.connection.state, feed.connection.reason) == ("ended", "camera: reset")


def test_an_error_that_is_not_ours_is_a_loss_without_its_text():
    """Messages of libraries may quote the address, with its password."""
    clock = SimulatedClock()

    def opener():
        raise RuntimeError(CAMERA.source)

    feed = feed_of(clock, opener, reconnect=False)
    run(feed)
    assert feed.connection.reason == "rtsp://***@camera/live: RuntimeError"


def test_a_paused_file_keeps_its_place():
    clock = SimulatedClock()
    feed = feed_of(clock, lambda: ScriptedSource(clock, 20, live=False, every=0.1), SourceSpec("pattern:"))
    clock.at(0.55, feed.pause)
    clock.at(7.0, feed.resume)
    run(feed)
    assert feed.received == 20
    assert clock.now - 1000 == pytest.approx(7.0 + 1.3, abs=0.11)


def test_a_paused_live_source_is_disconnected():
    clock, sources = SimulatedClock(), []

    def opener():
        if len(sources) == 1:
            feed.stop()
        sources.append(ScriptedSource(clock, 1000))
        return sources[-1]

    feed = feed_of(clock, opener)
    clock.at(1.0, feed.pause)
    states = []
    clock.at(2.0, lambda: states.append((feed.connection.state, sources[0].is_closed)))
    clock.at(5.0, feed.resume)
    run(feed)
    assert states == [("paused", True)]
    assert len(sources) == 2
    assert feed.connection.losses == 0


def test_a_blocked_read_is_left_alone_and_another_thread_connects():
    """A read that never returns: a stall is reported, then the connection is replaced."""
    clock, blocked, opened = SimulatedClock(), threading.Event(), []
    first, again = threading.Event(), threading.Event()

    class Blocked(ScriptedSource):
        def __next__(self):
            first.set()
            blocked.wait(30)
            raise StopIteration

    def opener():
        opened.append(threading.current_thread())
        if len(opened) == 1:
            return Blocked(clock, 1)
        feed.stop()
        again.set()
        return ScriptedSource(clock, 3)

    feed = feed_of(clock, opener)
    feed.start()
    assert first.wait(10)
    clock.now += 1.5
    feed.check()
    assert feed.connection.state == "stalled"
    clock.now += 3
    feed.check()
    assert again.wait(10)
    assert (feed.connection.losses, len(set(opened))) == (1, 2)
    blocked.set()
    feed.join(10)


def test_max_fps_leaves_frames_out_by_their_times():
    clock = SimulatedClock()
    feed = feed_of(clock, lambda: ScriptedSource(clock, 90), SourceSpec("pattern:live", max_fps=10))
    run(feed)
    assert feed.received == 90
    assert feed.received - feed.skipped == 30


def test_a_looped_file_goes_on_counting():
    clock, opened = SimulatedClock(), []

    def opener():
        opened.append(1)
        if len(opened) == 4:
            feed.stop()
        return ScriptedSource(clock, 10, live=False, every=0.1)

    feed = feed_of(clock, opener, SourceSpec("pattern:", loop=True))
    newest = []
    feed._wake = lambda: newest.append(feed.take())
    run(feed)
    frames = [each.frame for each in newest if each]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert len(frames) == 30
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))


def test_damaged_packets_are_counted_and_reported_once_for_each_connection(caplog):
    clock, connections = SimulatedClock(), []

    class Damaged(ScriptedSource):
        arrival = None

        def __next__(self):
            frame = super().__next__()
            self.arrival.damaged += 2
            return frame

    def opener():
        if len(connections) == 2:
            feed.stop()
        connections.append(Damaged(clock, 5, error="camera: reset by peer"))
        connections[-1].arrival = Arrival()
        return connections[-1]

    feed = feed_of(clock, opener)
    with caplog.at_level(logging.WARNING):
        run(feed)
    assert feed.damaged == 2 * 5 * 2
    assert caplog.text.count("packets arrive damaged") == 2


@pytest.mark.parametrize(("duration", "losses"), [(None, 1), (2.0, 0)])
def test_a_live_playlist_is_lost_where_a_finished_one_ends(duration, losses):
    clock, opened = SimulatedClock(), []

    def opener():
        if opened:
            feed.stop()
        opened.append(ScriptedSource(clock, 3, live=False))
        opened[-1].info = replace(opened[-1].info, duration=duration)
        return opened[-1]

    feed = feed_of(clock, opener, SourceSpec("http://camera/live.m3u8"))
    run(feed)
    assert feed.connection.losses == losses
    assert len(opened) == 1 + losses
