"""Every frame of a written video comes back, in order and at its time, at any length, rate and with any sound."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest

from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks.video import VideoSink
from nasion.realtime.sources import SourceInfo
from nasion.realtime.sources.base import Media

from ...conftest import ROOT
from ...support.media.plain_videos import info_of, plain, times_in
from ...support.media.plain_videos import write as write_any

VIDEOS = (".mp4", ".mov", ".mkv")
TICK = {".mp4": 1 / 90_000, ".mov": 1 / 90_000, ".mkv": 1 / 1000}
SOUND_RATE = 16_000

RATES = {
    "8 FPS, a gap after the first second": [i / 8 for i in range(96) if i < 1 or i >= 16],
    "8 FPS, a gap after two seconds": [i / 8 for i in range(96) if i < 17 or i >= 60],
    "23.976 FPS": [i * 1001 / 24_000 for i in range(60)],
    "29.97 FPS": [i * 1001 / 30_000 for i in range(70)],
    "59.94 FPS": [i * 1001 / 60_000 for i in range(140)],
    "120 FPS": [i / 120 for i in range(260)],
    "1 FPS": [float(i) for i in range(12)],
    "0.2 FPS": [i * 5.0 for i in range(5)],
    "no rate": [0.0, *accumulate(np.random.default_rng(1).uniform(0.005, 0.9, 30).tolist())],
    "two frames, far apart": [0.0, 11.0],
    "half a minute of nothing": [0.0, 0.04, 0.08, 30.0, 30.04, 31.0],
    "25 FPS from 1.3 s on": [1.3 + i / 25 for i in range(60)],
    "12 FPS from 100 s on": [100 + i / 12 for i in range(40)],
}
# Codec, container, seconds at which it begins and ends, and between which it has a gap.
SOUNDS = {
    "AAC": ("aac", ".mp4", 0.05, 12.0, None),
    "AAC in milliseconds": ("aac", ".mkv", 0.0, 12.0, None),
    "AAC that begins late": ("aac", ".mkv", 4.0, 12.0, None),
    "AAC that ends early": ("aac", ".mp4", 0.0, 0.7, None),
    "AAC with a gap": ("aac", ".mp4", 0.0, 12.0, (2.0, 6.0)),
    "PCM": ("pcm_s16le", ".mov", 0.0, 12.0, None),
}
SoundMaker = Callable[[str], Path]


def write(path: Path, times: list[float], *, sound: Path | None = None) -> None:
    rate = None if len(times) < 2 else Fraction((len(times) - 1) / (times[-1] - times[0])).limit_denominator(1001)
    info = SourceInfo("clip", 64, 48, rate, sound=None if sound is None else Media(str(sound)))
    with VideoSink(path, info) as sink:
        for index, time in enumerate(times):
            sink.write(Frame(plain(20 + 5 * (index % 40)), time, index), [])


def assert_times(path: Path, times: list[float]) -> None:
    expected = [time - times[0] for time in times]
    assert times_in(path) == pytest.approx(expected, abs=0.51 * TICK[path.suffix])


def duration_of(path: Path) -> float:
    with av.open(str(path)) as container:
        assert container.duration is not None
        return container.duration / av.time_base


@pytest.fixture(scope="module")
def sound_of(tmp_path_factory: pytest.TempPathFactory) -> SoundMaker:
    """Makes each source of SOUNDS once."""
    folder = tmp_path_factory.mktemp("sounds")

    @cache
    def make(name: str) -> Path:
        codec, suffix, begin, end, gap = SOUNDS[name]
        path = folder / f"{name}{suffix}"
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=1, options={"tune": "zerolatency"})
            video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
            audio = container.add_stream(codec, rate=SOUND_RATE, layout="mono")
            packets = []
            for second in range(12):
                image = av.VideoFrame.from_ndarray(plain(20, 32, 32), format="bgr24")
                image.pts, image.time_base = second, Fraction(1)
                packets += video.encode(image)
            packets += video.encode(None)
            for first in range(0, int((end - begin) * SOUND_RATE), 1024):
                time = begin + first / SOUND_RATE
                if gap is not None and gap[0] <= time < gap[1]:
                    continue
                wave = np.sin(np.arange(first, first + 1024) / 8).astype(np.float32)[None] / 2
                part = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                part.sample_rate, part.pts, part.time_base = SOUND_RATE, first, Fraction(1, SOUND_RATE)
                for fitting in av.AudioResampler(audio.format.name, "mono", SOUND_RATE).resample(part):
                    packets += audio.encode(fitting)
            packets += audio.encode(None)
            for packet in packets:
                if packet.stream is audio:
                    packet.pts += round(Fraction(begin) / packet.time_base)
                    packet.dts = packet.pts
            container.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
        return path

    return make


@pytest.mark.parametrize("suffix", VIDEOS)
def test_every_length_is_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    for length in range(1, 201):
        times = [index / 25 for index in range(length)]
        write(path, times)
        assert_times(path, times)
        assert duration_of(path) == pytest.approx(length / 25, abs=0.05), length


@pytest.mark.parametrize("sound", [None, *SOUNDS])
@pytest.mark.parametrize("suffix", VIDEOS)
def test_every_rate_is_kept(tmp_path: Path, sound_of: SoundMaker, suffix: str, sound: str | None) -> None:
    source = None if sound is None else sound_of(sound)
    for name, times in RATES.items():
        path = tmp_path / f"{name}{suffix}"
        write(path, times, sound=source)
        assert_times(path, times)
        last = 2 * times[-1] - times[-2] - times[0]  # the last frame lasts as long as the one before it
        assert duration_of(path) <= last + 0.15, name


_KILLED = """
import os, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks.video import VideoSink
from nasion.realtime.sources import SourceInfo
from nasion.realtime.sources.base import Media

media = Media(sys.argv[2]) if sys.argv[2] else None
for name, count, rate in (("short.mp4", 27, 25), ("long.mp4", 100, 25), ("slow.mov", 40, 8)):
    sink = VideoSink(Path(sys.argv[1]) / name, SourceInfo("clip", 32, 32, Fraction(rate), sound=media))
    for index in range(count):
        sink.write(Frame(np.full((32, 32, 3), 5 * index % 255, np.uint8), index / rate, index), [])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("sound", [None, *SOUNDS])
def test_a_killed_process_loses_the_last_fragment_and_no_more(
    tmp_path: Path, sound_of: SoundMaker, sound: str | None
) -> None:
    source = "" if sound is None else str(sound_of(sound))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path), source], env=environment, check=False)
    for name, count, rate in (("short.mp4", 27, 25), ("long.mp4", 100, 25), ("slow.mov", 40, 8)):
        got = times_in(tmp_path / name)
        assert (count - len(got)) / rate <= 1.0, name
        assert got == pytest.approx([index / rate for index in range(len(got))], abs=1e-4)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_an_image_of_many_hours_is_repeated_every_hour(tmp_path: Path, suffix: str) -> None:
    moments = [0.0, 36_000.0, 72_000.0]
    info = replace(info_of(), rate=Fraction(1, 36_000))
    write_any(tmp_path / f"long{suffix}", moments, info=info)
    times = times_in(tmp_path / f"long{suffix}")
    assert times == pytest.approx([3600 * hour for hour in range(21)])


@pytest.mark.parametrize("rate", [Fraction(1, 36_000), Fraction(60_000), Fraction(1, 10**9)])
def test_an_unlikely_rate_is_a_hint_only(tmp_path: Path, rate: Fraction) -> None:
    write_any(tmp_path / "odd.mp4", [0.0, 0.04, 0.08], info=replace(info_of(), rate=rate))
    assert times_in(tmp_path / "odd.mp4") == pytest.approx([0.0, 0.04, 0.08])
    with av.open(str(tmp_path / "odd.mp4")) as container:
        assert container.streams.video[0].codec_context.extradata[3] <= 30  # level 3.0, as of 25 FPS


def test_a_gap_of_more_than_a_day_is_a_damaged_timestamp_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "out.mp4"
    write(path, [0, 0.04, 1e10, 1e10 + 0.04])
    assert times_in(path) == pytest.approx([0, 0.04, 0.08, 0.12], abs=1e-4)
    assert "no frame for more than a day; the video goes on without that gap" in caplog.text
