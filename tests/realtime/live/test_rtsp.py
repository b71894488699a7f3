"""A real RTSP server, GStreamer's: its codecs, and what happens when it is killed, frozen, replaced or damaged."""

import functools
import time

import pytest

from nasion.realtime.live.hub import Hub
from tests.support.live.servers import Proxy, RtspServer, missing
from tests.support.live.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it can run")
PATIENCE = 60.0  # seconds; no test depends on the speed of the machine
until = functools.partial(wait_until, patience=PATIENCE)


def follow(hub, frames=10):
    """Wait until the camera has been tracked for some more frames."""
    begun = hub.source("camera").frames
    until(lambda: hub.source("camera").frames >= begun + frames, lambda: hub.source("camera"))


@pytest.mark.parametrize(
    ("codec", "transport"),
    [("h264", ""), ("h265", "?tcp"), ("mjpeg", ""), ("raw", ""), ("h264", "?udp"), ("raw", "?udp")],
)
def test_every_codec_is_tracked_over_tcp_and_udp(codec, transport):
    with RtspServer(codec=codec, form="320x240@15") as server, Hub() as hub:
        hub.add(server.url + transport, name="camera")
        follow(hub)
        status = hub.source("camera")
        assert (status.width, status.height, status.is_live) == (320, 240, True)
        assert status.faces >= 1  # a patch of the wall may count as a face, just above the lowest score
        assert status.latency is not None


def test_a_server_that_refuses_tcp_is_read_over_udp():
    with RtspServer(form="320x240@15", transport="udp") as server, Hub() as hub:
        hub.add(server.url, name="camera")
        follow(hub)


@pytest.fixture
def camera():
    with RtspServer(form="320x240@15") as server, Proxy(server.port) as proxy, Hub(timeout=1.5) as hub:
        hub.add(f"rtsp://admin:hunter2@127.0.0.1:{proxy.port}/live", name="camera")
        follow(hub)
        yield server, proxy, hub


def test_a_killed_server_is_reported_and_restored(camera, caplog):
    server, _, hub = camera
    identity = hub.newest("camera").faces[0].id
    server.kill()
    until(lambda: hub.source("camera").state == "reconnecting", lambda: hub.source("camera"))
    assert hub.source("camera").reason
    server.start()
    until(lambda: hub.source("camera").reconnects == 1, lambda: hub.source("camera"))
    follow(hub)
    assert hub.newest("camera").connection == 2
    assert hub.newest("camera").faces[0].id > identity, "identities are new after a lost connection"
    warnings = [record.getMessage() for record in caplog.records if record.name.endswith("live.feed")]
    assert len(warnings) == 2, "one for the loss, one for the return"
    assert "hunter2" not in caplog.text + repr(hub.status())


def test_a_frozen_server_stalls_and_is_restored(camera):
    server, _, hub = camera
    server.freeze()
    until(lambda: hub.source("camera").state in ("stalled", "reconnecting"), lambda: hub.source("camera"))
    until(lambda: hub.source("camera").losses == 1, lambda: hub.source("camera"))
    server.thaw()
    follow(hub)
    assert hub.source("camera").reconnects == 1


def test_closing_does_not_wait_for_a_blocked_read():
    with RtspServer(form="320x240@15") as server:
        hub = Hub(timeout=600)
        hub.add(server.url, name="camera")
        follow(hub)
        server.freeze()
        begun = time.monotonic()
        hub.close()
        assert time.monotonic() - begun < 60, "the read itself may last 600 s"
        server.thaw()


def test_a_server_of_another_size_and_codec_takes_its_place(camera):
    server, _, hub = camera
    identity = hub.newest("camera").faces[0].id
    server.kill()
    server.start(codec="mjpeg", form="480x360@15")
    until(lambda: hub.source("camera").width == 480, lambda: hub.source("camera"))
    follow(hub)
    status = hub.source("camera")
    assert status.faces == 1
    assert status.losses == status.reconnects >= 1
    assert hub.newest("camera").connection == status.reconnects + 1
    assert hub.newest("camera").faces[0].id > identity, "identities are new after a lost connection"


def test_damaged_packets_stop_nothing(camera):
    _, proxy, hub = camera
    proxy.damage = 0.2
    time.sleep(1)
    proxy.damage = 0.0
    follow(hub, 20)


def test_a_dead_camera_holds_no_other(camera):
    server, _, hub = camera
    hub.add("pattern:live", name="pattern")
    server.freeze()
    begun = hub.source("pattern").frames
    until(lambda: hub.source("pattern").frames >= begun + 20, lambda: hub.status())
    assert hub.source("camera").state != "live" or hub.source("pattern").frames > begun
    server.thaw()
