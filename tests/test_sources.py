"""One suite over every kind of source, then what is special about images, pattern, streams and cameras."""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from http.server import ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasion.engines.errors import SourceError
from nasion.realtime.faces import Frame
from nasion.realtime.sources import Camera, Source, cameras, list_cameras, open_source, redact

from .media_samples import SIZE, number_of, picture, write_video
from .serving import PASSWORD, QuietHandler, serving

COUNT = 20
KINDS = ["file", "image", "folder", "pattern", "live pattern", "http", "camera"]
LIVE = {"live pattern", "camera"}
ANYTHING = st.text(st.characters(min_codepoint=32, max_codepoint=126))
Opener = Callable[..., Source]


class FakeCapture:
    """Stands in for ``cv2.VideoCapture``: camera 0 gives pictures, the others do not open."""

    opened = 0

    def __init__(self, number: int, backend: int = 0) -> None:
        self.number, self.asked, self.read_so_far = number, dict[int, float](), 0
        FakeCapture.opened += number == 0
        self._open = number == 0

    def isOpened(self) -> bool:
        return self._open

    def set(self, what: int, value: float) -> bool:
        self.asked[what] = value
        return True

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0, cv2.CAP_PROP_FPS: 30.0}[what]

    def read(self) -> tuple[bool, np.ndarray[Any, Any] | None]:
        time.sleep(0.002)
        self.read_so_far += 1
        return (True, picture(self.read_so_far - 1)) if self.read_so_far <= COUNT else (False, None)

    def release(self) -> None:
        FakeCapture.opened -= self._open
        self._open = False


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    write_video(folder / "clip.mp4", frames=COUNT, sound=0.8, options={"movflags": "faststart"})
    (folder / "images").mkdir()
    for i in range(COUNT):
        cv2.imwrite(str(folder / "images" / f"frame{i}.png"), picture(i))
    return folder


@pytest.fixture(scope="module")
def web(media: Path) -> Iterator[str]:
    with serving(media) as address:
        yield address


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCapture.opened = 0
    monkeypatch.setattr(cameras.cv2, "VideoCapture", FakeCapture)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opener(kind: str, media: Path, web: str, camera: None) -> Opener:
    """Open the source of a kind, 20 frames long (one for an image; a camera breaks off after them)."""
    pattern = {"size": (64, 48), "fps": 100}
    return {
        "file": partial(open_source, media / "clip.mp4"),
        "image": partial(open_source, str(media / "images" / "frame0.png")),
        "folder": partial(open_source, media / "images"),
        "pattern": partial(open_source, "pattern:?seconds=0.2", **pattern),
        "live pattern": partial(open_source, "pattern:live?seconds=0.2", **pattern),
        "http": partial(open_source, f"{web}/clip.mp4"),
        "camera": partial(open_source, "0"),
    }[kind]


def take(source: Source, kind: str) -> list[Frame]:
    if kind == "camera":
        return [next(source) for _ in range(COUNT)]
    return list(source)


def reading_threads() -> int:
    return sum(thread.name == "nasion-source" for thread in threading.enumerate())


def comes_true(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait for what other threads bring about."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


# --- every kind


def test_frames_come_numbered_with_increasing_times_as_bgr(opener: Opener, kind: str) -> None:
    with opener() as source:
        frames = take(source, kind)
    assert len(frames) == (1 if kind == "image" else COUNT)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert frames[0].time == 0.0
    assert all(a.time < b.time for a, b in pairwise(frames))
    for frame in frames:
        assert isinstance(frame.time, float)
        assert frame.image.dtype == np.uint8
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.flags.c_contiguous
    if "pattern" not in kind:
        assert [number_of(frame.image) for frame in frames] == list(range(len(frames)))


def test_a_source_says_truly_what_it_is(opener: Opener, kind: str, media: Path, web: str) -> None:
    with opener() as source:
        info = source.info
    assert (info.width, info.height) == SIZE
    assert info.live == (kind in LIVE)
    assert isinstance(info.rate, Fraction)
    images = [media / "images" / f"frame{i}.png" for i in range(COUNT)]
    read = {"file": [media / "clip.mp4"], "image": images[:1], "folder": images}
    assert list(info.files) == read.get(kind, [])
    sound = {"file": media / "clip.mp4", "http": f"{web}/clip.mp4"}.get(kind)
    assert (info.sound and info.sound.location) == (sound and str(sound))
    if kind == "camera":
        assert (info.rate, info.frames, info.duration) == (30, None, None)
    else:
        assert info.frames == (1 if kind == "image" else COUNT)
        assert info.duration == pytest.approx(info.frames / info.rate)
    assert PASSWORD not in repr(info)


def test_closing_twice_is_fine_and_a_closed_source_has_ended(opener: Opener) -> None:
    source = opener()
    next(source)
    source.close()
    source.close()
    assert list(source) == []


def test_a_source_can_be_closed_before_its_first_frame_is_taken(opener: Opener) -> None:
    source = opener()
    source.close()
    assert list(source) == []


def test_an_ended_source_stays_ended(opener: Opener, kind: str) -> None:
    with opener() as source:
        take(source, kind)
        if kind == "camera":
            with pytest.raises(SourceError, match="camera 0: it stopped giving pictures; check its cable"):
                next(source)
        assert list(source) == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc, which is Linux's")
def test_leaving_early_leaves_no_thread_and_no_file_behind(opener: Opener, kind: str) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    opener().close()  # what is opened once for the whole process does not count
    gc.collect()
    comes_true(lambda: reading_threads() == 0)
    before = open_files()
    with opener() as source:
        next(source)
    assert comes_true(lambda: reading_threads() == 0)
    assert comes_true(lambda: open_files() <= before)
    assert FakeCapture.opened == 0


def test_a_cut_keeps_the_times_and_counts_anew(opener: Opener, kind: str) -> None:
    if kind in LIVE:
        with pytest.raises(SourceError, match=r"a live source has no place .* to start from; leave start out"):
            opener(start=0.1)
        return
    if kind == "image":
        with pytest.raises(SourceError, match=r"start is 0\.1 s, but it lasts 0\.04 s; give an earlier start"):
            opener(start=0.1)
        return
    with opener() as source:
        step = 1 / float(source.info.rate or 1)
        whole = list(source)
    with opener(start=5 * step - 1e-6, end=12 * step - 1e-6) as source:
        assert (source.info.frames, round(source.info.duration or 0, 3)) == (7, round(7 * step, 3))
        part = list(source)
    assert [frame.time for frame in part] == [frame.time for frame in whole[5:12]]
    assert [frame.index for frame in part] == list(range(7))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(part, whole[5:12], strict=True))


def test_an_end_stops_every_kind(opener: Opener, kind: str) -> None:
    with opener(end=0.021) as source:
        frames = list(source)
    assert frames[0].time == 0.0
    assert frames[-1].time < 0.021
    assert len(frames) < COUNT


def test_size_and_rate_are_taken_where_they_can_be(opener: Opener, kind: str) -> None:
    if "pattern" in kind or kind == "camera":
        opener(size=(64, 48), fps=50).close()
        return
    with pytest.raises(SourceError, match=r"size is \(64, 48\), but only a camera or pattern: takes it"):
        opener(size=(64, 48))
    with pytest.raises(SourceError, match=r"fps is 50, but only a camera or pattern: takes it; leave fps out"):
        opener(fps=50)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start": -1}, r"start is -1; it must be a number of seconds, 0 or more"),
        ({"end": float("nan")}, r"end is nan; it must be a number of seconds"),
        ({"start": 2, "end": 2}, r"end is 2 s and start is 2 s; end must come after start"),
        ({"end": 0}, r"end is 0 s and start is 0 s; end must come after start"),
        ({"size": (0, 480)}, r"size is \(0, 480\); it must be \(width, height\) in pixels"),
        ({"fps": 0}, r"fps is 0; it must be a number of frames per second above 0"),
        ({"timeout": 0}, r"timeout is 0; it must be a number of seconds above 0"),
        ({"start": "1:30"}, r"start is '1:30'; it must be a number of seconds, 0 or more"),
        ({"size": "640x480"}, r"size is '640x480'; it must be \(width, height\) in pixels"),
        ({"size": ("640", "480")}, r"size is \('640', '480'\); it must be"),
        ({"fps": "fast"}, r"fps is 'fast'; it must be a number of frames per second above 0"),
        ({"timeout": None}, r"timeout is None; it must be a number of seconds above 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(opener: Opener, wrong: dict[str, Any], message: str) -> None:
    arguments = {"size": (64, 48)} | wrong if "fps" in wrong else wrong
    with pytest.raises(SourceError, match=message):
        opener(**arguments)


# --- paths and images


def test_what_does_not_exist_is_named_with_what_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"'no-such\.mp4' does not exist; give a video file, an image, a folder"):
        open_source("no-such.mp4")
    with pytest.raises(SourceError, match="the source is empty; give a video file"):
        open_source("  ")
    with pytest.raises(SourceError, match=r"the folder has no image; allowed: \.jpg"):
        open_source(tmp_path)


@pytest.mark.parametrize("wrong", [None, 3.5, True, b"film.mp4", ["a.png"]])
def test_what_can_be_no_source_is_named_with_what_may_be_given(wrong: Any, camera: None) -> None:
    with pytest.raises(SourceError, match=r"the source is .*; give a video file, an image, a folder of images, a"):
        open_source(wrong)
    assert FakeCapture.opened == 0


def test_a_folder_is_read_in_natural_order_and_passes_over_what_is_no_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), picture(number, (20 + number, 30)))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "frame3.jpg").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING), open_source(tmp_path) as source:
        frames = list(source)
    assert [(frame.width, frame.time) for frame in frames] == [(21, 0.0), (22, 0.04), (30, 0.12)]
    assert "left out:" in caplog.text
    assert "frame3.jpg: the file is damaged or no image" in caplog.text


def test_a_folder_of_damaged_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"damaged")
    with pytest.raises(SourceError, match="no frame in it can be decoded"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("grey.png", np.full((48, 64), 100, np.uint8)),
        ("deep.png", np.full((48, 64, 3), 100 * 257, np.uint16)),
        ("alpha.png", np.full((48, 64, 4), 100, np.uint8)),
        ("photo.jpg", np.full((48, 64, 3), 100, np.uint8)),
        ("scan.tiff", np.full((48, 64, 3), 100, np.uint8)),
    ],
)
def test_every_kind_of_image_becomes_bgr_of_eight_bits(tmp_path: Path, name: str, image: Any) -> None:
    cv2.imwrite(str(tmp_path / name), image)
    with open_source(tmp_path / name) as source:
        (frame,) = source
    assert frame.image.shape == (48, 64, 3)
    assert frame.image.dtype == np.uint8
    assert np.abs(frame.image.astype(int) - 100).max() <= 1


def test_images_are_turned_as_their_exif_tag_says(tmp_path: Path) -> None:
    _, data = cv2.imencode(".jpg", picture(0))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # turn clockwise
    header = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "phone.jpg").write_bytes(data.tobytes()[:2] + header + data.tobytes()[2:])
    with open_source(tmp_path / "phone.jpg") as source:
        (frame,) = source
    assert np.abs(frame.image.astype(int) - np.rot90(picture(0), -1)).mean() < 6


def test_an_image_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("words")
    with pytest.raises(SourceError, match=r"empty\.png: the file is empty \(0 bytes\)"):
        open_source(tmp_path / "empty.png")
    with pytest.raises(SourceError, match=r"text\.png: the file is damaged or no image; allowed: \.jpg"):
        open_source(tmp_path / "text.png")


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_an_image_of_numbers_that_are_no_picture_says_which_are(tmp_path: Path, kind: str) -> None:
    cv2.imwrite(str(tmp_path / "depth.tiff"), np.ones((48, 64), kind))
    with pytest.raises(SourceError, match=rf"depth\.tiff: its values are {kind}; allowed: 8 or 16 bits, .* as PNG"):
        open_source(tmp_path / "depth.tiff")


# --- pattern


def test_a_live_pattern_comes_no_faster_than_its_pace() -> None:
    begun = time.monotonic()
    with open_source("pattern:live?seconds=0.3", size=(64, 36), fps=20) as source:
        late = [time.monotonic() - begun - frame.time for frame in source]
    assert len(late) == 6
    assert min(late) >= 0


def test_a_pattern_depends_on_its_seed_alone() -> None:
    def first(spec: str) -> bytes:
        with open_source(spec, size=(64, 36)) as source:
            return next(source).image.tobytes()

    assert first("pattern:") == first("pattern:?seed=0") == first("pattern:live")
    assert first("pattern:") != first("pattern:?seed=1")


@pytest.mark.parametrize(
    "spec",
    ["pattern:fast", "pattern:?seconds=soon", "pattern:?seconds=0", "pattern:?colour=1", "pattern:?seed=-1"],
)
def test_a_malformed_pattern_says_what_is_allowed(spec: str) -> None:
    with pytest.raises(SourceError, match="is no pattern; allowed: pattern: or pattern:live, then"):
        open_source(spec)


# --- closing from another thread


def ends_when_closed_elsewhere(source: Source) -> list[Frame]:
    """Read to the end in a thread, close here once it is blocked, and return what it read."""
    frames: list[Frame] = []
    reader = threading.Thread(target=lambda: frames.extend(source))
    reader.start()
    last = -1
    while len(frames) != last:  # nothing for a while: it waits
        last = len(frames)
        reader.join(0.3)
    assert reader.is_alive()
    source.close()
    reader.join(2)
    assert not reader.is_alive()
    return frames


def test_closing_a_live_pattern_ends_the_wait_for_its_next_frame() -> None:
    frames = ends_when_closed_elsewhere(open_source("pattern:live?seconds=60", size=(64, 36), fps=0.05))
    assert len(frames) == 1


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
        with pytest.raises(SourceError, match=r"http://\*\*\*@127.*broken off at .* \(it does not answer\)"):
            frames.extend(source)
        assert list(source) == []
    assert len(frames) > 5


def test_a_video_whose_index_comes_too_late_for_its_server_says_what_to_do(tmp_path: Path) -> None:
    data = write_video(tmp_path / "late.mov", frames=100, codec="rawvideo", pix_fmt="rgb24").read_bytes()
    assert data.index(b"moov") > data.index(b"mdat")
    with serving(tmp_path) as web, pytest.raises(SourceError, match="no frame of it could be read") as caught:
        open_source(f"{web}/late.mov")
    assert "needs a server that answers range requests: download it first, or" in str(caught.value)
    assert "kept" not in str(caught.value)
    assert PASSWORD not in whole_text(caught.value)


# --- addresses


def whole_text(error: BaseException) -> str:
    """Message, traceback, and everything that hangs on an error."""
    parts = ["".join(traceback.format_exception(error))]
    here: BaseException | None = error
    while here is not None:
        parts.append(repr((here, here.args, vars(here))))
        here = here.__cause__ or here.__context__
    return "\n".join(parts)


def test_a_server_that_never_answers_is_given_up_after_the_timeout(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}/stream"
        for scheme in ("rtsp", "http", "rtmp"):
            begun = time.monotonic()
            with pytest.raises(SourceError, match=rf"{scheme}://\*\*\*@{place}: no video from there") as caught:
                open_source(f"{scheme}://user:{PASSWORD}@{place}", timeout=0.4)
            assert 0.3 < time.monotonic() - begun < 3
            assert PASSWORD not in whole_text(caught.value)
    assert comes_true(lambda: reading_threads() == 0)
    assert PASSWORD not in caplog.text


def test_a_refused_connection_is_named_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    refused = rf"rtsp://\*\*\*@127\.0\.0\.1:{port}/live: no video from there \(Connection refused\); check that"
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceError, match=refused) as caught:
        open_source(f"rtsp://user:{PASSWORD}@127.0.0.1:{port}/live", timeout=5)
    assert PASSWORD not in whole_text(caught.value)
    assert PASSWORD not in caplog.text
    assert comes_true(lambda: reading_threads() == 0)


def test_what_a_server_has_not_is_refused_in_its_words(web: str) -> None:
    with pytest.raises(SourceError, match=r"no-such\.mp4: no video from there \(.*404.*\)"):
        open_source(f"{web}/no-such.mp4")


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


# --- cameras


def test_a_camera_is_asked_for_size_and_rate_and_its_answer_is_logged(
    camera: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: dict[int, float] = {}
    monkeypatch.setattr(FakeCapture, "set", lambda self, what, value: asked.update({what: value}) or True)
    with caplog.at_level(logging.WARNING), open_source(0, size=(640, 480), fps=25) as source:
        assert (source.info.name, source.info.width, source.info.height) == ("camera 0", 64, 48)
    sizes = cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS
    assert [asked[what] for what in sizes] == [640, 480, 25]
    assert "camera 0: asked for 640x480, gives 64x48" in caplog.text


def test_a_camera_that_cannot_be_opened_says_what_to_do(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=r"camera 63 cannot be opened; .*close other programs .* nasion doctor"):
        open_source(63)
    with pytest.raises(SourceError, match="camera -1 does not exist; cameras count from 0"):
        open_source(-1)
    assert capfd.readouterr() == ("", "")


def test_only_cameras_that_open_are_listed(camera: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "_numbers", lambda: [0, 1, 2])
    assert list_cameras() == [Camera(0, 64, 48)]
    assert FakeCapture.opened == 0
    monkeypatch.setattr(cameras, "_numbers", list)
    assert list_cameras() == []
