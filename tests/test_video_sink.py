from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from nasion.engines.errors import SinkError
from nasion.realtime.faces import Face, Frame, Image
from nasion.realtime.sinks.video import ImageSink, VideoSink
from nasion.realtime.sources import SourceInfo, open_source
from nasion.realtime.sources.base import Media

from .serving import PASSWORD, QuietHandler, serving

VIDEOS = (".mp4", ".mov", ".mkv")
TICK = {".mp4": 1 / 90_000, ".mov": 1 / 90_000, ".mkv": 1 / 1000}
RATE = 48_000
SPEED = {"preset": "ultrafast", "g": "20", "bf": "0"}
BEEP = 2.0  # seconds into the sound of the sources made here


def info_of(path: Path | None = None, rate: int | None = 25) -> SourceInfo:
    sound = None if path is None else Media(str(path))
    return SourceInfo("clip", 64, 48, Fraction(rate) if rate else None, None, None, sound=sound)


def plain(value: int, width: int = 64, height: int = 48) -> Image:
    return np.full((height, width, 3), value, np.uint8)


def write(path: Path, times: Sequence[float], *, info: SourceInfo | None = None) -> None:
    with VideoSink(path, info or info_of()) as sink:
        for index, time in enumerate(times):
            sink.write(Frame(plain(20 + 5 * (index % 40)), time, index), [])


def times_in(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def images_in(path: Path) -> list[Image]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


# ---- pictures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", VIDEOS)
@pytest.mark.parametrize("start", [0.0, 7.3])
def test_a_variable_frame_rate_stays_one_and_starts_at_0(tmp_path: Path, suffix: str, start: float) -> None:
    gaps = np.random.default_rng(0).uniform(0.005, 0.3, 60)
    times = start + np.concatenate([[0.0], np.cumsum(gaps)])
    write(tmp_path / f"out{suffix}", times.tolist())
    got = times_in(tmp_path / f"out{suffix}")
    assert got == pytest.approx((times - start).tolist(), abs=0.51 * TICK[suffix])


@pytest.mark.parametrize("rate", [24, 30, 50, None])
def test_a_constant_frame_rate_stays_one(tmp_path: Path, rate: int | None) -> None:
    times = [index * 1001 / 30_000 for index in range(40)]
    write(tmp_path / "out.mp4", times, info=info_of(rate=rate))
    assert times_in(tmp_path / "out.mp4") == pytest.approx(times, abs=0.51 / 90_000)


@pytest.mark.parametrize("suffix", VIDEOS)
def test_a_video_of_one_frame_can_be_read(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"out{suffix}", [3.0])
    assert times_in(tmp_path / f"out{suffix}") == [0.0]


@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 48), (64, 47), (33, 31)])
def test_an_odd_size_grows_by_a_copy_of_its_edge(tmp_path: Path, width: int, height: int) -> None:
    ramp = np.tile(np.linspace(40, 200, width).astype(np.uint8)[None, :, None], (height, 1, 3))
    with VideoSink(tmp_path / "out.mp4", info_of()) as sink:
        sink.write(Frame(ramp, 0.0, 0), [])
    (image,) = images_in(tmp_path / "out.mp4")
    assert image.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(image[:height, :width].astype(int) - ramp).max() <= 12
    assert np.abs(image[:height, -1].astype(int) - ramp[:, -1]).max() <= 12


def test_a_frame_of_another_size_is_fitted_with_black_bars(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4", info_of()) as sink:
        sink.write(Frame(plain(150), 0.0, 0), [])
        sink.write(Frame(plain(150, width=120, height=30), 0.04, 1), [])
        sink.write(Frame(plain(150, width=12, height=24), 0.08, 2), [])
    first, wide, tall = (image.astype(int) for image in images_in(tmp_path / "out.mp4"))
    assert first.shape == wide.shape == tall.shape == (48, 64, 3)
    assert np.abs(first - 150).max() < 12
    assert wide[:12].max() < 20
    assert wide[-12:].max() < 20
    assert np.abs(wide[20:28, 2:-2] - 150).max() < 12
    assert tall[:, :16].max() < 20
    assert tall[:, -16:].max() < 20
    assert np.abs(tall[2:-2, 26:38] - 150).max() < 12


@pytest.mark.parametrize(("width", "height"), [(64, 48), (1280, 720)])
@pytest.mark.parametrize("colour", [(200, 40, 40), (40, 200, 40), (40, 40, 200), (235, 235, 235)])
def test_colours_are_kept(tmp_path: Path, width: int, height: int, colour: tuple[int, int, int]) -> None:
    image = np.full((height, width, 3), colour, np.uint8)
    with VideoSink(tmp_path / "out.mp4", info_of()) as sink:
        sink.write(Frame(image, 0.0, 0), [])
    (got,) = images_in(tmp_path / "out.mp4")
    assert np.abs(got[height // 2, width // 2].astype(int) - colour).max() <= 4


def test_faces_are_drawn_where_they_are(tmp_path: Path) -> None:
    points = np.array([[60, 50], [100, 50], [80, 90]], np.float32)
    face = Face(1, np.array([60, 50, 100, 90], np.float32), 0.9, points, np.ones(3, np.float32))
    for name in ("out.mp4", "out.png", "out.jpg"):
        path = tmp_path / name
        with VideoSink(path, info_of()) if name == "out.mp4" else ImageSink(path) as sink:
            sink.write(Frame(plain(120, 160, 120), 0.0, 0), [face])
        image = images_in(path)[0] if name == "out.mp4" else cv2.imread(str(path))
        assert image is not None
        assert (np.abs(image[[50, 50, 90], [60, 100, 80]].astype(int) - 120).max(axis=1) > 40).all()
        assert np.abs(image[100:, 110:].astype(int) - 120).max() < 10


def test_the_finished_mp4_is_an_ordinary_one(tmp_path: Path) -> None:
    if av.library_versions["libavformat"] < (62, 12, 0):
        pytest.skip("FFmpeg before 8.1 cannot turn fragments into an ordinary file")
    write(tmp_path / "out.mp4", [index / 25 for index in range(100)])
    data = (tmp_path / "out.mp4").read_bytes()
    assert b"moov" in data
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.frames == 100  # the index lists them all: not left to fragments
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert container.duration == pytest.approx(4_000_000, abs=100)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"has suffix '\.avi'; allowed: \.mp4, \.mov, \.mkv"):
        VideoSink(tmp_path / "out.avi", info_of())


def test_a_pyav_without_h264_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(SinkError, match=r"needs H\.264, which this PyAV lacks"):
        VideoSink(tmp_path / "out.mp4", info_of())


# ---- sound -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """What a video sounds like; seconds of its first sample, last sample and beep."""

    codec: str
    begin: float
    end: float
    beep: float
    packets: tuple[bytes, ...]


def make_source(path: Path, codec: str, *, delay: float = 0.0, layout: str = "mono") -> Path:
    """4 s of pictures, the first of them shown at ``delay``, and 4 s of sound with a beep."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, time_base=Fraction(1, 90_000), options=SPEED)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(codec, rate=RATE)
        audio.layout = layout
        packets = []
        for index in range(100):
            picture = av.VideoFrame.from_ndarray(plain(index), format="bgr24")
            picture.pts, picture.time_base = round((delay + index / 25) * 90_000), Fraction(1, 90_000)
            packets += video.encode(picture)
        packets += video.encode(None)
        for part in sound(audio.format.name, layout):
            packets += audio.encode(part)
        packets += audio.encode(None)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        container.mux(packets)
    return path


def sound(form: str, layout: str) -> list[av.AudioFrame]:
    time = np.arange(4 * RATE) / RATE
    wave = 0.8 * np.sin(2 * np.pi * 1000 * time) * ((time >= BEEP) & (time < BEEP + 0.1))
    converter = av.AudioResampler(form, layout, RATE)
    frames = []
    for start in range(0, len(wave), 960):
        part = av.AudioFrame.from_ndarray(wave[None, start : start + 960].astype(np.float32), "fltp", "mono")
        part.sample_rate, part.pts, part.time_base = RATE, start, Fraction(1, RATE)
        frames += converter.resample(part)
    return frames


def hear(path: Path) -> Heard | None:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        packets = tuple(bytes(packet) for packet in container.demux(stream) if packet.size)
        codec = stream.codec_context.codec.canonical_name
    converter = av.AudioResampler("fltp", "mono")
    time, wave = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            begin = float(frame.pts * frame.time_base)
            for part in converter.resample(frame):
                wave.append(part.to_ndarray()[0])
                time.append(begin + np.arange(part.samples) / part.sample_rate)
    times, loud = np.concatenate(time), np.abs(np.concatenate(wave)) > 0.2
    beep = float(times[loud][0]) if loud.any() else -1.0
    return Heard(codec, float(times[0]), float(times[-1]), beep, packets)


def pass_through(source: Path | str, out: Path, *, start: float | None = None, end: float | None = None) -> None:
    with open_source(source, start=start, end=end) as frames, VideoSink(out, frames.info) as sink:
        for frame in frames:
            sink.write(frame, [])


SourceMaker = Callable[..., Path]


@pytest.fixture(scope="module")
def source_of(tmp_path_factory: pytest.TempPathFactory) -> SourceMaker:
    """Makes each source once."""
    folder = tmp_path_factory.mktemp("sources")

    @cache
    def make(container: str, codec: str, *, delay: float = 0.0, layout: str = "mono") -> Path:
        return make_source(folder / f"{codec}-{delay}-{layout}{container}", codec, delay=delay, layout=layout)

    return make


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
def test_sound_stays_in_time_with_the_picture(
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
    # The zero of a source is its first picture, and some containers here show that late.
    expected = there.beep - times_in(source)[0] - (start or 0.0)
    assert heard.beep == pytest.approx(expected, abs=0.003)
    assert -0.03 < heard.begin < 0.1
    assert length - 0.1 < heard.end < length + 0.1


@pytest.mark.parametrize(("container", "suffix"), [(".mp4", ".mp4"), (".mkv", ".mp4"), (".mp4", ".mkv")])
@pytest.mark.parametrize("start", [None, 1.0])
def test_sound_that_begins_before_the_picture_is_shifted_with_it(
    tmp_path: Path, source_of: SourceMaker, container: str, suffix: str, start: float | None
) -> None:
    source = source_of(container, "aac", delay=0.5)
    pass_through(source, tmp_path / f"out{suffix}", start=start)
    heard = hear(tmp_path / f"out{suffix}")
    assert times_in(tmp_path / f"out{suffix}")[0] == 0.0
    assert heard is not None
    assert heard.beep == pytest.approx(BEEP - 0.5 - (start or 0.0), abs=0.003)


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
    assert "clip: its sound cannot be read (Invalid data found when processing input); the video stays" in caplog.text


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
    assert caplog.text == ""


def test_a_live_stream_costs_the_sound_and_that_is_said_once(
    tmp_path: Path, source_of: SourceMaker, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(".ts", "aac")  # of unknown length, when it cannot be asked for its end
    with serving(source.parent) as web:
        pass_through(f"{web}/{source.name}", tmp_path / "out.mp4")
    assert hear(tmp_path / "out.mp4") is None
    assert len(times_in(tmp_path / "out.mp4")) == 100
    (said,) = caplog.messages
    assert said.endswith(f"{source.name}: a live stream cannot be read twice; out.mp4 will have no sound")
    assert PASSWORD not in said


def test_a_live_source_that_has_no_sound_is_passed_over_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
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
    assert "http://***@there/a.mkv: its sound breaks off" in caplog.text


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
