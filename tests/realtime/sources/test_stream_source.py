"""Streams as a source: closed elsewhere, silent or refused, and addresses that never show a password."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasion.engines.errors import SourceError
from nasion.realtime.faces import Frame
from nasion.realtime.sources import open_source, redact

from ...support.media.media_samples import number_of, write_video
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


def test_a_stream_that_nobody_holds_any_more_lets_its_thread_go(web: str) -> None:
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


# --- addresses


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
    ],
)
def test_redaction_keeps_the_place_and_drops_the_secret(url: str, shown: str) -> None:
    assert redact(url) == shown
