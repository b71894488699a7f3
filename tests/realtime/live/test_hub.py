"""Hub: sources that come and go, results for many clients, and an end that waits for nothing."""

import asyncio
import functools
import threading
import time
from fractions import Fraction

import numpy as np
import pytest

from nasion.engines.errors import NasionError, SourceError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.live.hub import Hub, UnknownSource
from nasion.realtime.live.live import live
from nasion.realtime.live.specs import SourceSpec
from nasion.realtime.sources.base import SourceInfo
from nasion.realtime.tracking.aligner import Aligner
from nasion.realtime.tracking.detector import Detector
from nasion.realtime.tracking.requests import Networks
from nasion.realtime.tracking.tracker import TrackerOptions
from tests.realtime.live.test_batch import ManyDetector
from tests.support.fakes.networks import COLOURS, Disc, DiscAligner, frame
from tests.support.live.waiting import wait_until

PATIENCE = 60.0
until = functools.partial(wait_until, patience=PATIENCE, every=0.005)
CAMERA = "rtsp://user:hunter2@camera/live"


class Camera:
    """Live source that yields frames as fast as it may, until it breaks or blocks."""

    def __init__(self, colour=COLOURS[0], x=100.0):
        self.info = SourceInfo("camera", 320, 240, Fraction(30), live=True)
        self._disc, self._index = Disc(colour, x, 120), 0
        self.broken, self.blocked, self.closed = threading.Event(), threading.Event(), threading.Event()

    def __next__(self) -> Frame:
        while self.blocked.is_set() and not self.closed.is_set():
            time.sleep(0.01)
        if self.broken.is_set():
            raise SourceError("camera: reset by peer")
        time.sleep(0.01)
        self._index += 1
        return frame(self._index - 1, self._disc)

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def hub():
    networks = Networks(Detector(ManyDetector(), size=320), Aligner(DiscAligner()))
    with Hub(TrackerOptions(detect_size=320), networks=networks, timeout=30) as hub:
        yield hub


def frames(hub, name, count=5):
    begun = hub.source(name).frames
    until(lambda: hub.source(name).frames >= begun + count, lambda: hub.source(name))


def test_results_of_all_sources_reach_every_client(hub):
    everything, one = hub.subscribe(), hub.subscribe("yard")
    for name, colour in (("door", COLOURS[0]), ("yard", COLOURS[1])):
        hub.add(CAMERA, name=name, opener=lambda colour=colour: Camera(colour))
    seen = set()
    while seen != {"door", "yard"}:
        result = everything.get(PATIENCE)
        seen.add(result.source)
        assert result.latency >= 0
        assert abs(time.time() - result.captured) < PATIENCE
    assert {one.get(PATIENCE).source for _ in range(3)} == {"yard"}
    frames(hub, "door")
    assert len(hub.newest("door").faces) == 1


def test_status_counts_and_hides_the_password(hub):
    hub.add(CAMERA, name="door", opener=Camera)
    frames(hub, "door", 20)
    status = hub.status()
    (source,) = status.sources
    assert (source.name, source.address, source.state) == ("door", "rtsp://***@camera/live", "live")
    assert (source.width, source.height, source.is_live, source.rate) == (320, 240, True, 30)
    assert source.frames + source.dropped <= source.received <= source.frames + source.dropped + 2
    assert source.identities == 1
    assert source.latency.p50 <= source.latency.p95 <= source.latency.p99
    assert status.aligner_calls >= status.ticks - 10
    assert status.frames == source.frames
    assert "hunter2" not in repr(status)


def test_sources_are_removed_and_names_are_free_again(hub):
    camera = Camera()
    hub.add(CAMERA, name="door", opener=lambda: camera)
    with pytest.raises(NasionError, match="'door' exists already"):
        hub.add(CAMERA, name="door", opener=Camera)
    frames(hub, "door")
    tracked = hub.source("door").frames
    hub.remove("door")
    assert camera.closed.wait(PATIENCE)
    assert hub.names() == ()
    assert hub.status().frames >= tracked
    with pytest.raises(UnknownSource, match="no source 'door'"):
        hub.newest("door")
    assert hub.add(CAMERA, name="door", opener=Camera) == "door"


@pytest.mark.parametrize("method", ["remove", "pause", "resume", "source", "newest"])
def test_unknown_sources_are_named(hub, method):
    with pytest.raises(UnknownSource, match="there is no source 'x'; sources: none"):
        getattr(hub, method)("x")


def test_a_paused_source_is_disconnected_and_taken_up_again(hub):
    cameras = []
    hub.add(CAMERA, name="door", opener=lambda: cameras.append(Camera()) or cameras[-1])
    frames(hub, "door")
    hub.pause("door")
    assert hub.source("door").state == "paused"
    assert cameras[0].closed.wait(PATIENCE)
    hub.resume("door")
    frames(hub, "door")
    assert (hub.source("door").losses, len(cameras)) == (0, 2)


def test_identities_are_new_after_a_lost_connection_only(hub):
    cameras = []
    hub.add(CAMERA, name="door", opener=lambda: cameras.append(Camera()) or cameras[-1])
    frames(hub, "door", 10)
    first = hub.newest("door").faces[0].id
    cameras[0].broken.set()
    until(lambda: hub.source("door").reconnects == 1, lambda: hub.source("door"))
    frames(hub, "door", 10)
    assert hub.newest("door").connection == 2
    assert hub.newest("door").faces[0].id > first
    assert hub.source("door").identities == 2


def test_another_size_is_not_a_loss(hub):
    class Growing(Camera):
        def __next__(self):
            shown = super().__next__()
            image = shown.image if shown.index < 30 else np.repeat(np.repeat(shown.image, 2, 0), 2, 1)
            return Frame(image, shown.time, shown.index)

    hub.add(CAMERA, name="door", opener=Growing)
    until(lambda: hub.source("door").width == 640, lambda: hub.source("door"))
    frames(hub, "door")
    assert (hub.source("door").losses, hub.source("door").identities) == (0, 1)


def test_a_part_of_the_image_has_coordinates_of_the_whole(hub):
    hub.add(CAMERA, name="whole", opener=Camera)
    hub.add(CAMERA, name="part", roi=(40, 30, 200, 200), opener=Camera)
    hub.add(CAMERA, name="empty", roi=(200, 0, 100, 100), opener=Camera)
    for name in hub.names():
        frames(hub, name, 20)
    whole, part = (hub.newest(name).faces[0].landmarks for name in ("whole", "part"))
    assert np.abs(np.asarray(whole) - part).max() < 2
    assert hub.newest("part").frame.width == 320
    assert hub.newest("empty").faces == []


def test_a_subscription_ends_with_its_sources(hub):
    hub.add(CAMERA, name="door", opener=Camera)
    camera = hub.subscribe("door")
    both = hub.subscribe("door", "film")
    hub.add("pattern:?seconds=0.2", name="film")
    assert {result.source for result in hub.subscribe("film")} <= {"film"}
    assert list(hub.subscribe("film")) == []
    assert both.get(PATIENCE)
    hub.remove("door")
    for subscription in (camera, both):
        assert {result.source for result in subscription} <= {"door", "film"}


@pytest.mark.parametrize("roi", [(5000, 5000, 10, 10), (320, 0, 10, 10), (0, 240, 10, 10)])
def test_a_part_outside_the_image_ends_the_source_with_a_reason(hub, roi):
    camera = Camera()
    hub.add(CAMERA, name="outside", roi=roi, opener=lambda: camera)
    until(lambda: hub.source("outside").state == "ended", lambda: hub.source("outside"))
    assert "is outside the image, which is 320x240 pixels; give x below 320" in hub.source("outside").reason
    assert (hub.newest("outside"), hub.source("outside").frames) == (None, 0)
    assert camera.closed.wait(PATIENCE)


def test_closing_does_not_wait_for_blocked_sources(hub):
    class Stuck(Camera):
        def __next__(self):
            shown = super().__next__()
            if shown.index > 3:
                stuck.wait(10 * PATIENCE)
            return shown

    stuck = threading.Event()
    for number in range(8):
        hub.add(CAMERA, name=f"camera-{number}", opener=Stuck)
    until(lambda: all(each.frames for each in hub.status().sources))
    begun = time.monotonic()
    hub.close()
    assert time.monotonic() - begun < PATIENCE / 2
    stuck.set()
    with pytest.raises(NasionError, match="closed"):
        hub.add(CAMERA)


def test_a_blocked_source_holds_no_other(hub):
    blocked = Camera()
    hub.add(CAMERA, name="blocked", opener=lambda: blocked)
    hub.add(CAMERA, name="door", opener=Camera)
    frames(hub, "blocked")
    blocked.blocked.set()
    frames(hub, "door", 60)
    until(lambda: hub.source("blocked").state == "stalled", lambda: hub.source("blocked"))
    blocked.blocked.clear()
    until(lambda: hub.source("blocked").state == "live", lambda: hub.source("blocked"))


def test_a_callback_that_fails_ends_alone(hub, caplog):
    got, failed = [], threading.Event()

    def broken(result):
        failed.set()
        raise ValueError("mine")

    hub.call(got.append)
    hub.call(broken)
    hub.add(CAMERA, name="door", opener=Camera)
    assert failed.wait(PATIENCE)
    until(lambda: len(got) > 20)
    assert caplog.text.count("a callback of nasion.live failed") == 1


def test_files_end_the_iteration(hub):
    class File(Camera):
        def __init__(self):
            super().__init__()
            self.info = SourceInfo("file", 320, 240, Fraction(30), frames=5, duration=5 / 30)

        def __next__(self):
            if self._index == 5:
                raise StopIteration
            return super().__next__()

    results = hub.subscribe(capacity=10)
    hub.add(SourceSpec("pattern:", "file"), opener=File)
    until(lambda: hub.is_over)
    until(lambda: hub.source("file").frames + hub.source("file").dropped == 5)
    hub.close()
    indices = [result.frame.index for result in results]
    assert indices == sorted(indices)
    assert indices[-1] == 4


class SlowAligner(DiscAligner):
    """Landmark network that takes longer than the iterators wait for a result."""

    def __call__(self, images):
        time.sleep(0.5)
        return super().__call__(images)


@pytest.mark.parametrize("is_async", [False, True])
def test_the_iteration_ends_after_the_last_frame_however_long_it_takes(is_async):
    class Image(Camera):
        def __init__(self):
            super().__init__()
            self.info = SourceInfo("file", 320, 240, Fraction(30), frames=1, duration=1 / 30)

        def __next__(self):
            if self._index == 1:
                raise StopIteration
            return super().__next__()

    async def received(hub):
        return [result async for result in hub]

    networks = Networks(Detector(ManyDetector(), size=320), Aligner(SlowAligner()))
    with Hub(TrackerOptions(detect_size=320), networks=networks) as hub:
        iterator = aiter(hub) if is_async else iter(hub)
        hub.add(SourceSpec("pattern:", "file"), opener=Image)
        results = asyncio.run(received(iterator)) if is_async else list(iterator)
    assert [result.frame.index for result in results] == [0]


def test_async_iteration_and_its_end():
    async def received() -> int:
        count = 0
        with live({"a": "pattern:?seconds=0.5", "b": "pattern:?seconds=0.3"}) as hub:
            async for result in hub:
                assert result.source in ("a", "b")
                count += 1
        return count

    assert asyncio.run(received()) >= 2


def test_wrong_sources_are_refused_before_anything_starts():
    with pytest.raises(NasionError, match="does not exist"):
        live(["pattern:", "nowhere.mp4"])
    with pytest.raises(NasionError, match="timeout=0"):
        Hub(timeout=0)


def test_too_many_sources_are_refused(hub):
    hub._most = 1
    hub.add(CAMERA, opener=Camera)
    with pytest.raises(NasionError, match="1 sources already"):
        hub.add(CAMERA, opener=Camera)
