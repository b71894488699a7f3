"""Streams as a source: closed elsewhere, silent or refused, and addresses that never show a password."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasion.engines.errors import SourceError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sources import SourceInfo, open_source, redact
from nasion.realtime.sources.background import BackgroundSource

from ...support.media.media_samples import number_of, numbered_image, write_video
from ...support.media.rtsp import rtsp_server
from ...support.media.serving import PASSWORD, QuietHandler, serving
from ...support.media.source_samples import comes_true, ends_when_closed_elsewhere, media, reading_threads, web

__all__ = ["media", "web"]  # fixtures

ANYTHING = st.text(st.characters(min_codepoint=32, max_codepoint=126))


def whole_text(error: BaseException) -> str:
    """Message, traceback, and everything that hangs on an error."""
    parts = ["".join(traceback.format_exception(error))]
    here: BaseException | None = error
    while here is not None:
        parts.append(repr((here, here.args, vars(here))))
        here = here.__cause__ or here.__context__
    return "\n".join(parts)


# --- closing and silence


def test_a_stream_without_references_ends_its_thread(web: str) -> None:
    source = open_source(f"{web}/clip.mp4")
    next(source)
    assert reading_threads() == 1
    del source
    gc.collect()
    assert comes_true(lambda: reading_threads() == 0)


class StallingHandler(QuietHandler):
    """Sends the first half of a file and then says nothing more."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        data = source.read()
        outputfile.write(data[: len(data) // 2])
        outputfile.flush()
        self.server.silence.wait(30)  # type: ignore[attr-defined]


@pytest.fixture
def stalling(tmp_path: Path) -> Iterator[str]:
    write_video(tmp_path / "clip.mkv", frames=100)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(StallingHandler, directory=str(tmp_path))) as server:
        server.silence = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://user:{PASSWORD}@127.0.0.1:{server.server_port}/clip.mkv"
        server.silence.set()  # type: ignore[attr-defined]
        server.shutdown()


def test_closing_a_stream_that_went_silent_ends_the_blocked_read(stalling: str) -> None:
    frames = ends_when_closed_elsewhere(open_source(stalling, timeout=3))
    assert [number_of(frame.image) for frame in frames] == [i % 20 for i in range(len(frames))]
    assert 5 < len(frames) < 90
    assert comes_true(lambda: reading_threads() == 0, 6)


def test_a_stream_that_goes_silent_breaks_off_after_the_timeout(stalling: str) -> None:
    frames: list[Frame] = []
    with open_source(stalling, timeout=0.5) as source:
        with pytest.raises(SourceError, match=r"http://\*\*\*@127.*ended early at .* \(it does not answer\)"):
            frames.extend(source)
        assert list(source) == []
    assert len(frames) > 5


# --- servers


def test_a_server_that_never_answers_is_given_up_after_the_timeout(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}/stream"
        for scheme in ("rtsp", "http", "rtmp"):
            begun = time.monotonic()
            with pytest.raises(SourceError, match=rf"{scheme}://\*\*\*@{place}: no video received") as caught:
                open_source(f"{scheme}://user:{PASSWORD}@{place}", timeout=0.4)
            assert 0.3 < time.monotonic() - begun < 3
            assert PASSWORD not in whole_text(caught.value)
    assert comes_true(lambda: reading_threads() == 0)
    assert PASSWORD not in caplog.text


def test_a_refused_connection_is_named_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    refused = rf"rtsp://\*\*\*@127\.0\.0\.1:{port}/live: no video received \(Connection refused\); check that"
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceError, match=refused) as caught:
        open_source(f"rtsp://user:{PASSWORD}@127.0.0.1:{port}/live", timeout=5)
    assert PASSWORD not in whole_text(caught.value)
    assert PASSWORD not in caplog.text
    assert comes_true(lambda: reading_threads() == 0)


def test_what_a_server_has_not_is_refused_in_its_words(web: str) -> None:
    with pytest.raises(SourceError, match=r"no-such\.mp4: no video received \(.*404.*\)"):
        open_source(f"{web}/no-such.mp4")


def test_a_video_whose_index_comes_too_late_for_its_server_says_what_to_do(tmp_path: Path) -> None:
    data = write_video(tmp_path / "late.mov", frames=100, codec="rawvideo", pix_fmt="rgb24").read_bytes()
    assert data.index(b"moov") > data.index(b"mdat")
    with serving(tmp_path) as web, pytest.raises(SourceError, match="no frame of it could be read") as caught:
        open_source(f"{web}/late.mov")
    assert "needs a server that answers range requests: download it first, or" in str(caught.value)
    assert "kept" not in str(caught.value)
    assert PASSWORD not in whole_text(caught.value)


def test_a_start_is_reached_though_the_server_cannot_send_from_the_middle(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", frames=200, codec="mpeg4")
    with serving(tmp_path) as address:
        for start in (1.0, 3.6, 7.5):
            with open_source(f"{address}/a.mkv", start=start) as source:
                times = [frame.time for frame in source]
            assert times == pytest.approx([i / 25 for i in range(200) if i / 25 >= start], abs=0.001)


def test_an_rtsp_stream_that_the_server_ends_is_broken_off() -> None:
    with rtsp_server(30) as address, open_source(address, timeout=20) as source:
        frames: list[Frame] = []
        with pytest.raises(SourceError, match=r"ended early at 1\.16 s \(the server has ended the stream\)"):
            frames.extend(source)
    assert [number_of(frame.image) for frame in frames] == [i % 20 for i in range(len(frames))]
    assert len(frames) == 30


def test_an_rtsp_stream_that_stalls_is_given_up_after_one_timeout() -> None:
    frames: list[Frame] = []
    with rtsp_server(30, end="stall") as address, open_source(address, timeout=4) as source:
        begun = time.monotonic()
        with pytest.raises(SourceError, match=r"ended early at 1\.16 s \(it does not answer\)"):
            frames.extend(source)
        assert 3 < time.monotonic() - begun < 7
    assert len(frames) == 30


def test_an_rtsp_server_that_sends_over_udp_only_is_read_unless_the_address_asks_for_tcp() -> None:
    with rtsp_server(200, end="stall", only_udp=True) as address:
        with pytest.raises(SourceError, match=r"does not send over TCP \(Protocol not supported\); leave \?tcp out"):
            open_source(f"{address}?tcp", timeout=5)
        for transport in ("", "?udp"):
            with open_source(address + transport, timeout=5) as source:
                assert next(source).image.shape == (48, 64, 3)


def test_a_device_that_gives_no_frame_is_given_up_after_the_timeout() -> None:
    class Silent:
        info = SourceInfo("silent", 64, 48, live=True)
        closing = threading.Event()

        def __iter__(self) -> Silent:
            return self

        def __next__(self) -> Frame:
            self.closing.wait(30)
            raise StopIteration

        def close(self) -> None:
            self.closing.set()

        def __enter__(self) -> Silent:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

    with BackgroundSource(Silent, "camera 7", 0.2) as source:
        with pytest.raises(SourceError, match=r"camera 7: no frame received for 0\.2 s; check its power"):
            next(source)
        assert list(source) == []
    Silent.closing.set()


class MjpegHandler(QuietHandler):
    """Sends a frame every 0.1 s, without timestamps, as simple cameras do."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(15):
            image = cv2.imencode(".jpg", numbered_image(index))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
            self.wfile.write(head.encode() + image + b"\r\n")
            time.sleep(0.1)
        self.wfile.write(b"--frame--\r\n")


def test_a_live_stream_without_timestamps_has_the_times_of_arrival(tmp_path: Path) -> None:
    frames: list[Frame] = []
    with serving(tmp_path, MjpegHandler) as web, open_source(f"{web}/camera") as source:
        assert (source.info.live, source.info.rate) == (True, None)
        with suppress(SourceError):  # the server ends the stream
            frames.extend(source)
    assert len(frames) >= 14
    assert frames[-1].time > 0.9  # at the assumed 25 frames a second it would be 0.56 s
    assert all(a.time < b.time for a, b in pairwise(frames))


# --- addresses


def test_a_password_that_cuts_the_address_off_is_explained() -> None:
    with pytest.raises(
        SourceError, match=r"rtsp://\*\*\*@127\.0\.0\.1:9/x: no video received .* write # as %23"
    ) as caught:
        open_source(f"rtsp://user:{PASSWORD}#1@127.0.0.1:9/x", timeout=5)
    assert PASSWORD not in whole_text(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gopher://host/x", r"gopher:// is not supported; allowed: rtsp, rtsps, http"),
        ("rtsp://", r"the URL names no host; write for example rtsp://"),
        (f"rtsp://user:{PASSWORD}@/x", r"rtsp://\*\*\*@/x: the URL names no host"),
    ],
)
def test_malformed_addresses_are_refused_before_anything_is_asked(url: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_source(url)
    assert PASSWORD not in whole_text(caught.value)


@given(ANYTHING, ANYTHING)
def test_no_user_and_no_password_survives_in_a_redacted_url(user: str, password: str) -> None:
    assert redact(f"rtsp://{user}:{password}@camera.local:554/live") == "rtsp://***@camera.local:554/live"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://camera/live", "rtsp://camera/live"),
        ("http://host/a.mp4?token=secret&x=1", "http://host/a.mp4?***"),
        ("http://host/a.mp4#secret", "http://host/a.mp4"),
        (
            "rtsp://10.0.0.5/user=admin&password=secret&channel=1",
            "rtsp://10.0.0.5/user=***&password=***&channel=1",
        ),
        ("rtsp://10.0.0.5/user=admin_password=secret_channel=1", "rtsp://10.0.0.5/user=***"),
        ("film.mp4", "film.mp4"),
        ("film@2.mp4", "film@2.mp4"),
        ("pattern:live?seconds=3", "pattern:live?seconds=3"),
        ("rtsp:/admin:secret@host/live?token=secret", "rtsp:/***@host/live?***"),
        ("rtsp//admin:secret@host/live", "rtsp//***@host/live"),
        ("admin:secret@host/live", "***@host/live"),
    ],
)
def test_redaction_keeps_the_place_and_drops_the_secret(url: str, shown: str) -> None:
    assert redact(url) == shown
