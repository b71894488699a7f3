"""Sound in a video: in sync with the video, copied or made AAC, and what becomes of it when it is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from nasion.engines.errors import SourceError
from nasion.realtime.sinks.video import VideoSink
from nasion.realtime.sources import SourceInfo, open_source
from nasion.realtime.sources.base import Media

from ...support.media.plain_videos import info_of, times_in, write
from ...support.media.serving import PASSWORD, QuietHandler, serving
from ...support.media.sound_samples import BEEP, hear, make_source, pass_through

SourceMaker = Callable[..., Path]


@pytest.fixture(scope="module")
def source_of(tmp_path_factory: pytest.TempPathFactory) -> SourceMaker:
    """Makes each source once."""
    folder = tmp_path_factory.mktemp("sources")

    @cache
    def make(container: str, codec: str, *, delay: float = 0.0, layout: str = "mono") -> Path:
        return make_source(folder / f"{codec}-{delay}-{layout}{container}", codec, delay=delay, layout=layout)

    return make


# --- in sync with the video


SOURCES = [
    (".mp4", "aac", "mono", ".mp4"),
    (".mp4", "aac", "mono", ".mov"),
    (".mp4", "aac", "mono", ".mkv"),
    (".ts", "aac", "stereo", ".mp4"),
    (".ts", "aac", "stereo", ".mkv"),
    (".mkv", "libopus", "stereo", ".mp4"),
    (".mkv", "libopus", "stereo", ".mkv"),
    (".mkv", "flac", "mono", ".mp4"),
    (".avi", "pcm_s16le", "stereo", ".mp4"),
    (".mov", "pcm_s16le", "mono", ".mov"),
]


@pytest.mark.parametrize(("container", "codec", "layout", "suffix"), SOURCES)
@pytest.mark.parametrize(("start", "end"), [(None, None), (1.2, 3.0)])
def test_sound_stays_in_time_with_the_image(
    tmp_path: Path,
    source_of: SourceMaker,
    container: str,
    codec: str,
    layout: str,
    suffix: str,
    start: float | None,
    end: float | None,
) -> None:
    source = source_of(container, codec, layout=layout)
    pass_through(source, tmp_path / f"out{suffix}", start=start, end=end)
    times, heard = times_in(tmp_path / f"out{suffix}"), hear(tmp_path / f"out{suffix}")
    length = (end or 4.0) - (start or 0.0)
    assert len(times) == round(25 * length)
    assert times[0] == 0.0
    assert heard is not None
    there = hear(source)
    assert there is not None
    # The zero of a source is its first image, and some containers here show that late. AVI has no presentation times;
    # FFmpeg makes up one that is late by a frame.
    zero = 0.0 if container == ".avi" else times_in(source)[0]
    expected = there.beep - zero - (start or 0.0)
    assert heard.beep == pytest.approx(expected, abs=0.003)
    assert -0.03 < heard.begin < 0.1
    assert length - 0.1 < heard.end < length + 0.1


@pytest.mark.parametrize(
    ("container", "suffix"),
    [(".mp4", ".mp4"), (".mov", ".mov"), (".mp4", ".mov"), (".mkv", ".mp4"), (".mp4", ".mkv"), (".mkv", ".mkv")],
)
@pytest.mark.parametrize(("delay", "start"), [(0.5, None), (0.5, 1.0), (1.48, None), (1.48, 0.4)])
def test_the_video_begins_with_the_first_frame_and_its_sound_with_it(
    tmp_path: Path, source_of: SourceMaker, container: str, suffix: str, delay: float, start: float | None
) -> None:
    source = source_of(container, "aac", delay=delay)
    first = times_in(source)[0]
    assert first == pytest.approx(delay, abs=0.03)
    pass_through(source, tmp_path / f"out{suffix}", start=start)
    heard, there, times = hear(tmp_path / f"out{suffix}"), hear(source), times_in(tmp_path / f"out{suffix}")
    assert heard is not None
    assert there is not None
    assert times[0] == 0.0
    assert len(times) == 100 - round(25 * (start or 0.0))
    assert heard.beep == pytest.approx(there.beep - first - (start or 0.0), abs=0.005)  # ears notice 20 ms
    assert -0.03 < heard.begin < 0.05  # Matroska takes whole packets only
    assert heard.end == pytest.approx(4.0 - first - (start or 0.0), abs=0.05)


def test_an_interrupted_run_has_sound_up_to_where_it_came(tmp_path: Path, source_of: SourceMaker) -> None:
    source = source_of(".mp4", "aac")

    def interrupted() -> None:
        with open_source(source) as frames, VideoSink(tmp_path / "out.mp4", frames.info) as sink:
            for frame in frames:
                sink.write(frame, [])
                if frame.index == 59:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    heard = hear(tmp_path / "out.mp4")
    assert heard is not None
    assert len(times_in(tmp_path / "out.mp4")) == 60
    assert heard.beep == pytest.approx(BEEP, abs=0.003)
    assert heard.end == pytest.approx(2.4, abs=0.03)


# --- codecs


@pytest.mark.parametrize(
    ("container", "codec", "suffix"),
    [
        (".mp4", "aac", ".mp4"),
        (".mkv", "libopus", ".mp4"),
        (".mkv", "flac", ".mkv"),
        (".mov", "pcm_s16le", ".mov"),
    ],
)
def test_packets_are_copied_where_the_container_takes_them(
    tmp_path: Path, source_of: SourceMaker, container: str, codec: str, suffix: str
) -> None:
    source = source_of(container, codec)
    pass_through(source, tmp_path / f"out{suffix}")
    before, after = hear(source), hear(tmp_path / f"out{suffix}")
    assert before is not None
    assert after is not None
    assert after.codec == before.codec
    assert b"".join(after.packets) == b"".join(before.packets)


@pytest.mark.parametrize(
    ("container", "codec", "suffix"),
    [(".avi", "pcm_s16le", ".mp4"), (".mkv", "flac", ".mov"), (".mkv", "libopus", ".mov")],
)
def test_sound_that_the_container_does_not_take_becomes_aac(
    tmp_path: Path, source_of: SourceMaker, container: str, codec: str, suffix: str
) -> None:
    pass_through(source_of(container, codec), tmp_path / f"out{suffix}")
    heard = hear(tmp_path / f"out{suffix}")
    assert heard is not None
    assert heard.codec == "aac"


# --- no sound


def test_a_source_without_sound_gives_a_video_without(tmp_path: Path) -> None:
    write(tmp_path / "source.mp4", [index / 25 for index in range(10)])
    pass_through(tmp_path / "source.mp4", tmp_path / "out.mp4")
    assert len(times_in(tmp_path / "out.mp4")) == 10
    assert hear(tmp_path / "out.mp4") is None


def test_a_source_whose_sound_cannot_be_read_costs_the_sound_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "source.mp4").write_bytes(b"no video at all")
    write(tmp_path / "out.mp4", [0.0, 0.04], info=info_of(tmp_path / "source.mp4"))
    assert len(times_in(tmp_path / "out.mp4")) == 2
    assert (
        "clip: its sound cannot be read (Invalid data found when processing input); the video will have" in caplog.text
    )


# --- from elsewhere


@pytest.mark.parametrize("container", [".mp4", ".mkv"])
@pytest.mark.parametrize("start", [None, 1.2])
def test_a_video_from_a_web_server_keeps_its_sound(
    tmp_path: Path, source_of: SourceMaker, container: str, start: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(container, "aac")
    with serving(source.parent) as web:
        pass_through(f"{web}/{source.name}", tmp_path / "out.mp4", start=start)
    heard = hear(tmp_path / "out.mp4")
    assert heard is not None
    assert heard.beep == pytest.approx(BEEP - (start or 0.0), abs=0.003)
    counted = container == ".mp4" or start is None  # without an index, frames before the start cannot be counted
    assert ["Frame.index begins at 0" in record.message for record in caplog.records] == [] if counted else [True]


class OfUnknownLength(QuietHandler):
    """Serves files without their length, as a camera does."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Content-Length":
            super().send_header(keyword, value)


def test_a_live_stream_costs_the_sound_and_that_is_said_once(
    tmp_path: Path, source_of: SourceMaker, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(".ts", "aac")
    with serving(source.parent, OfUnknownLength) as web, pytest.raises(SourceError, match="ended early"):
        pass_through(f"{web}/{source.name}", tmp_path / "out.mp4")
    assert hear(tmp_path / "out.mp4") is None
    assert len(times_in(tmp_path / "out.mp4")) == 100
    (said,) = caplog.messages
    assert said.endswith(f"{source.name}: a live stream cannot be read twice; out.mp4 will have no sound")
    assert PASSWORD not in said


def test_a_live_source_without_sound_gives_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "out.mp4", [0.0], info=SourceInfo("camera 0", 64, 48, live=True))
    assert caplog.text == ""


def test_a_server_that_has_gone_costs_the_sound_and_shows_no_password(
    tmp_path: Path, source_of: SourceMaker, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(source_of(".mp4", "aac").parent) as web:
        pass
    info = replace(info_of(), name="http://***@there/a.mp4", sound=Media(f"{web}/a.mp4", timeout=2.0))
    assert PASSWORD not in repr(info)
    write(tmp_path / "out.mp4", [0.0, 0.04], info=info)
    assert len(times_in(tmp_path / "out.mp4")) == 2
    assert "http://***@there/a.mp4: its sound cannot be read (Connection refused)" in caplog.text
    assert PASSWORD not in caplog.text


def test_sound_that_breaks_off_shows_no_password(
    tmp_path: Path, source_of: SourceMaker, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(".mkv", "flac")

    class Cutting(QuietHandler):
        def copyfile(self, file: Any, outputfile: Any) -> None:
            data = file.read()
            outputfile.write(data[: len(data) // 2])

    with serving(source.parent, Cutting) as web:
        info = replace(info_of(), name="http://***@there/a.mkv", sound=Media(f"{web}/{source.name}", timeout=2.0))
        write(tmp_path / "out.mp4", [index / 25 for index in range(100)], info=info)
    assert len(times_in(tmp_path / "out.mp4")) == 100
    assert PASSWORD not in caplog.text
    assert "http://***@there/a.mkv: its sound ends early" in caplog.text
