"""Streams that ffmpeg serves or sends: RTMP, HLS, MJPEG over HTTP, and MPEG-TS over UDP, also with lost packets."""

import functools
import http.server
import shutil
import threading

import pytest

from nasion.realtime.live.hub import Hub
from tests.support.live.servers import Ffmpeg, LossyRelay, free_port, free_udp_port
from tests.support.live.waiting import wait_until

pytestmark = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: apt-get install ffmpeg"
)
PATIENCE = 90.0  # seconds; no test depends on the speed of the machine
until = functools.partial(wait_until, patience=PATIENCE)


def follow(hub, frames):
    """Wait until the camera has been tracked for so many frames, and return its status."""
    until(lambda: hub.source("camera").frames >= frames, lambda: hub.source("camera"))
    status = hub.source("camera")
    assert (status.width, status.height, status.faces, status.is_live) == (320, 240, 1, True)
    return status


def test_rtmp_is_tracked_without_an_interruption(tmp_path):
    address = f"rtmp://127.0.0.1:{free_port()}/app/key"
    with Ffmpeg("-f", "flv", "-listen", "1", address, folder=tmp_path), Hub() as hub:
        hub.add(address, name="camera")
        assert follow(hub, 60).losses == 0


def test_mpeg_ts_over_udp_is_tracked(tmp_path):
    address = f"udp://127.0.0.1:{free_udp_port()}"
    with Hub() as hub, Ffmpeg("-f", "mpegts", f"{address}?pkt_size=1316", folder=tmp_path):
        hub.add(address, name="camera")
        assert follow(hub, 30).losses == 0


def test_lost_packets_of_udp_lose_no_connection(tmp_path):
    with LossyRelay(0.05) as relay, Hub() as hub:
        hub.add(f"udp://127.0.0.1:{relay.target}", name="camera")
        with Ffmpeg("-f", "mpegts", f"udp://127.0.0.1:{relay.port}?pkt_size=1316", folder=tmp_path):
            status = follow(hub, 60)
    assert relay.lost > 0
    assert status.losses == 0


def test_hls_is_tracked_and_connected_again_when_it_is_lost(tmp_path):
    segments = ("-f", "hls", "-hls_time", "1", "-hls_list_size", "5", "-hls_flags", "delete_segments", "live.m3u8")
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, Ffmpeg(*segments, folder=tmp_path):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Hub(timeout=4) as hub:
            hub.add(f"http://127.0.0.1:{server.server_port}/live.m3u8", name="camera")
            follow(hub, 30)
            server.shutdown()
            server.server_close()
            until(lambda: hub.source("camera").state == "reconnecting", lambda: hub.source("camera"))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *arguments):
        """Print nothing."""


def test_mjpeg_over_http_is_tracked(tmp_path):
    address = f"http://127.0.0.1:{free_port()}/video.mjpg"
    output = ("-c:v", "mjpeg", "-f", "mpjpeg", "-listen", "1", address)
    with Ffmpeg(*output, folder=tmp_path), Hub() as hub:
        hub.add(address, name="camera")
        assert follow(hub, 30).losses == 0
