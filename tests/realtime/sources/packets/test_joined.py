"""Joined files: one clock over the joints, from any start, and streams that appear in the middle of a file."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from nasion.engines.errors import SourceError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sources import open_source
from nasion.realtime.sources.packets import container as container_module

from ....support.media.media_samples import write_video
from ....support.media.serving import QuietHandler, RangeHandler, serving

RED, BLUE = (20, 20, 200), (200, 20, 20)


def clip(
    path: Path,
    colour: tuple[int, int, int],
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (64, 48),
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
) -> bytes:
    """Write 5 s of one colour, 25 frames a second, and return the content of the file."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=codec_options or {})
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        image = np.full((size[1], size[0], 3), colour, np.uint8)
        for _ in range(125):
            container.mux(stream.encode(VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path.read_bytes()


def read(path: Path, start: float | None = None) -> list[Frame]:
    with open_source(path, start=start) as source:
        return list(source)


def colour_of(frame: Frame) -> str:
    blue, _, red = frame.image.mean(axis=(0, 1))
    return "red" if red > blue else "blue"


def check(path: Path, *, lost: int = 0) -> None:
    """Check that 5 s of red and 5 s of blue follow each other, from any start."""
    whole = read(path)
    assert len(whole) == 250 - lost
    assert [colour_of(frame) for frame in whole] == ["red"] * (125 - lost) + ["blue"] * 125
    assert {round(25 * frame.time, 3) for frame in whole[: 125 - lost]} <= set(range(125))
    assert [frame.time for frame in whole[-125:]] == pytest.approx([5 + i / 25 for i in range(125)], abs=0.001)
    for start in (1.0, 3.6, 4.98, 6.0, 9.5):
        expected = [(frame.time, frame.index, colour_of(frame)) for frame in whole if frame.time >= start]
        assert [(frame.time, frame.index, colour_of(frame)) for frame in read(path, start)] == expected
    with pytest.raises(SourceError, match=r"start is 60 s, but it lasts (9\.9|10\.0)"):
        read(path, 60)


@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "2", "g": "12"}, {"g": "12", "x264-params": "open-gop=1"}])
@pytest.mark.parametrize("suffix", ["ts", "mpg", "flv", "mp4", "mov", "mkv"])
def test_joined_files_have_one_clock(tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    codec = "mpeg2video" if suffix == "mpg" else "libx264"
    options = {key: value for key, value in options.items() if codec == "libx264" or key != "x264-params"}
    parts = [
        clip(tmp_path / f"{i}.{suffix}", colour, codec=codec, codec_options=options)
        for i, colour in enumerate((RED, BLUE))
    ]
    (tmp_path / f"joined.{suffix}").write_bytes(b"".join(parts))
    check(tmp_path / f"joined.{suffix}")


@pytest.mark.parametrize(
    ("suffix", "codec"), [("asf", "wmv2"), ("mxf", "mpeg2video"), ("ogv", "libvpx"), ("swf", "flv1")]
)
def test_joined_files_that_ffmpeg_reads_wrongly_have_one_clock(tmp_path: Path, suffix: str, codec: str) -> None:
    parts = [clip(tmp_path / f"{i}.{suffix}", colour, codec=codec) for i, colour in enumerate((RED, BLUE))]
    (tmp_path / f"joined.{suffix}").write_bytes(b"".join(parts))
    check(tmp_path / f"joined.{suffix}")


def test_a_second_file_that_does_not_go_on_with_the_first_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = clip(tmp_path / "0.mp4", RED)
    with av.open(str(tmp_path / "1.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30, time_base=Fraction(1, 30))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="bgr24")))
        container.mux(stream.encode(None))
    (tmp_path / "joined.mp4").write_bytes(first + (tmp_path / "1.mp4").read_bytes())
    assert len(read(tmp_path / "joined.mp4")) == 125
    assert f"another file follows in it from byte {len(first)} on, which is not read" in caplog.text


@pytest.mark.parametrize("handler", [QuietHandler, RangeHandler])
def test_joined_files_over_http_have_one_clock_from_any_start(tmp_path: Path, handler: type[QuietHandler]) -> None:
    parts = [clip(tmp_path / f"{i}.ts", colour) for i, colour in enumerate((RED, BLUE))]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    whole = read(tmp_path / "joined.ts")
    with serving(tmp_path, handler) as address:
        for start in (1.0, 4.98, 6.0, 9.5):
            with open_source(f"{address}/joined.ts", start=start) as source:
                found = [(frame.time, frame.index, colour_of(frame)) for frame in source]
            assert found == [(f.time, f.index, colour_of(f)) for f in whole if f.time >= start]


def test_a_time_beyond_the_length_of_an_flv_file_is_not_believed(tmp_path: Path) -> None:
    data = bytearray(clip(tmp_path / "a.flv", RED, codec_options={"bf": "0"}))
    place, number = 13, 0
    while place + 11 < len(data):  # tags: kind, 3 bytes of size, 3 of time, 1 of its highest bits
        number += data[place] == 9
        if data[place] == 9 and number == 40:
            data[place + 7] ^= 0x78
        place += 11 + int.from_bytes(data[place + 1 : place + 4], "big") + 4
    (tmp_path / "flipped.flv").write_bytes(data)
    times = [frame.time for frame in read(tmp_path / "flipped.flv")]
    assert len(times) == 125
    assert times == pytest.approx([i / 25 for i in range(125)], abs=0.05)


@pytest.mark.parametrize("offset", ["30000", "20"])
def test_a_leap_of_the_clock_counts_as_no_time(tmp_path: Path, offset: str) -> None:
    first = clip(tmp_path / "a.ts", RED)
    second = clip(tmp_path / "b.ts", BLUE, options={"output_ts_offset": offset})
    (tmp_path / "joined.ts").write_bytes(first + second)
    check(tmp_path / "joined.ts")


@pytest.mark.parametrize("reach", ["5000000", "10000"], ids=["known", "found late"])
def test_a_stream_that_follows_another_is_read(tmp_path: Path, reach: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = av.open

    def short_sighted(*args: object, **kwargs: object) -> object:
        if "container_options" in kwargs:
            kwargs["container_options"] = {"probesize": reach}
        return opened(*args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(av, "open", short_sighted)
    first = clip(tmp_path / "a.ts", RED)
    second = clip(tmp_path / "b.ts", BLUE, options={"mpegts_start_pid": "768", "mpegts_pmt_start_pid": "5000"})
    (tmp_path / "joined.ts").write_bytes(first + second)
    check(tmp_path / "joined.ts")


def test_sound_that_was_not_found_at_first_is_said_to_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    short_sighted = partial(av.open, container_options={"probesize": "10000"})
    monkeypatch.setattr(container_module.av, "open", lambda *args, **_: short_sighted(*args))
    first = clip(tmp_path / "a.ts", RED)
    second = write_video(tmp_path / "b.ts", sound=0.8).read_bytes()
    (tmp_path / "joined.ts").write_bytes(first + second + 8 * first)  # FFmpeg looks for streams at the end, too
    with open_source(tmp_path / "joined.ts", end=5.4) as source:
        assert source.info.sound is None
        assert len(list(source)) == 135
    assert "sound begins at 4.96 s, too late to be kept" in caplog.text


def test_three_files_of_which_the_second_has_another_stream(tmp_path: Path) -> None:
    first = clip(tmp_path / "a.ts", RED)
    second = clip(tmp_path / "b.ts", BLUE, options={"mpegts_start_pid": "768"})
    (tmp_path / "joined.ts").write_bytes(first + second + first)
    frames = read(tmp_path / "joined.ts")
    assert [colour_of(frame) for frame in frames] == ["red"] * 125 + ["blue"] * 125 + ["red"] * 125
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(375)], abs=0.001)


def test_a_file_of_another_codec_follows(tmp_path: Path) -> None:
    first = clip(tmp_path / "a.ts", RED)
    second = clip(tmp_path / "b.ts", BLUE, codec="mpeg2video")
    (tmp_path / "joined.ts").write_bytes(first + second)
    check(tmp_path / "joined.ts", lost=1)  # FFmpeg drops the last packet of the first codec


@pytest.mark.parametrize("codecs", [("libx264", "libx265"), ("libx265", "libx264")])
def test_a_file_of_another_codec_with_the_same_start_codes_follows(tmp_path: Path, codecs: tuple[str, str]) -> None:
    parts = [
        clip(tmp_path / f"{i}.ts", colour, codec=codec, codec_options={"x265-params": "log-level=none"})
        for i, (codec, colour) in enumerate(zip(codecs, (RED, BLUE), strict=True))
    ]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    check(tmp_path / "joined.ts", lost=1)


@pytest.mark.parametrize("codecs", [("mpeg2video", "libx264"), ("libx264", "mpeg2video")])
def test_a_video_of_another_codec_follows_in_a_program_stream(tmp_path: Path, codecs: tuple[str, str]) -> None:
    parts = [
        clip(tmp_path / f"{i}.mpg", colour, codec=codec)
        for i, (codec, colour) in enumerate(zip(codecs, (RED, BLUE), strict=True))
    ]
    (tmp_path / "joined.mpg").write_bytes(b"".join(parts))
    frames = read(tmp_path / "joined.mpg")
    assert [colour_of(frame) for frame in frames] == ["red"] * 125 + ["blue"] * 125
    assert [frame.index for frame in frames] == list(range(250))


def test_videos_between_two_of_the_same_stream_are_read(tmp_path: Path) -> None:
    red, blue = clip(tmp_path / "a.ts", RED), clip(tmp_path / "b.ts", BLUE, options={"mpegts_start_pid": "768"})
    (tmp_path / "joined.ts").write_bytes(blue + red + blue + red)
    frames = read(tmp_path / "joined.ts")
    assert [colour_of(frame) for frame in frames] == 2 * (["blue"] * 125 + ["red"] * 125)


def test_a_file_of_another_size_follows(tmp_path: Path) -> None:
    first = clip(tmp_path / "a.ts", RED)
    second = clip(tmp_path / "b.ts", BLUE, size=(128, 96))
    (tmp_path / "joined.ts").write_bytes(first + second)
    check(tmp_path / "joined.ts")
    assert read(tmp_path / "joined.ts")[-1].image.shape == (96, 128, 3)


def test_the_video_of_another_program_is_not_appended(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "two.ts"), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(200):
            for stream, last in zip(streams, (100, 200), strict=True):
                if index < last:
                    container.mux(stream.encode(VideoFrame(64, 48, "yuv420p")))
        for stream in streams:
            container.mux(stream.encode(None))
    assert len(read(tmp_path / "two.ts")) == 100
