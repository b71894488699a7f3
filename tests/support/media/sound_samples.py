"""Videos with sound, written by PyAV for the tests of the sound, and what is heard in a video."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from nasion.realtime.sinks.video import VideoSink
from nasion.realtime.sources import open_source

from .plain_videos import plain

RATE = 48_000
SPEED = {"preset": "ultrafast", "g": "20", "bf": "0"}
BEEP = 2.0  # seconds into the sound of the sources made here


@dataclass(frozen=True, slots=True)
class Heard:
    """Sound of a video: seconds of its first sample, last sample and beeps, and the frequency of each beep in Hz."""

    codec: str
    begin: float
    end: float
    beep: float
    packets: tuple[bytes, ...]
    beeps: tuple[float, ...] = ()
    pitches: tuple[float, ...] = ()


def make_source(
    path: Path,
    codec: str,
    *,
    video_codec: str | None = None,
    delay: float = 0.0,
    layout: str = "mono",
    rate: int = RATE,
    beep: float = 0.1,
    options: dict[str, str] | None = None,
) -> Path:
    """4 s of images, the first shown at ``delay``, and 4 s of sound with a beep of 1,000 Hz, ``beep`` seconds long."""
    with av.open(str(path), "w", options=options or {}) as container:
        if video_codec or path.suffix == ".mpg":
            video = container.add_stream(video_codec or "mpeg2video", rate=25)
        else:
            video = container.add_stream("libx264", rate=25, time_base=Fraction(1, 90_000), options=SPEED)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(codec, rate=rate)
        audio.layout = layout
        packets = []
        for index in range(100):
            image = av.VideoFrame.from_ndarray(plain(index), format="bgr24")
            image.pts, image.time_base = round((delay + index / 25) * 90_000), Fraction(1, 90_000)
            packets += video.encode(image)
        packets += video.encode(None)
        for part in sound(audio.format.name, layout, rate, beep):
            packets += audio.encode(part)
        packets += audio.encode(None)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        container.mux(packets)
    return path


def sound(form: str, layout: str, rate: int = RATE, beep: float = 0.1) -> list[av.AudioFrame]:
    time = np.arange(4 * RATE) / RATE
    wave = 0.8 * np.sin(2 * np.pi * 1000 * time) * ((time >= BEEP) & (time < BEEP + beep))
    converter = av.AudioResampler(form, layout, rate)
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
    times, samples = np.concatenate(time), np.concatenate(wave)
    loud = times[np.abs(samples) > 0.2]
    beeps = [float(moment) for moment, before in zip(loud, [-1.0, *loud[:-1]], strict=True) if moment - before > 0.5]
    pitches = []
    ends = [float(loud[loud < following].max()) for following in [*beeps[1:], np.inf]] if beeps else []
    for begin, end in zip(beeps, ends, strict=True):
        within = samples[(times > begin + 0.02) & (times < end - 0.02)]
        pitches.append(float((np.diff(np.sign(within)) > 0).sum() / (end - begin - 0.04)))
    first = beeps[0] if beeps else -1.0
    return Heard(codec, float(times[0]), float(times[-1]), first, packets, tuple(beeps), tuple(pitches))


def pass_through(source: Path | str, out: Path, *, start: float | None = None, end: float | None = None) -> None:
    with open_source(source, start=start, end=end) as frames, VideoSink(out, frames.info) as sink:
        for frame in frames:
            sink.write(frame, [])
