"""Comparison of what nasion reads from a video, and of the annotated video that it writes, with ffprobe and ffmpeg."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nasion.engines.errors import NasionError
from nasion.realtime.sinks.video import VideoSink
from nasion.realtime.sources import open_source

Image = NDArray[np.uint8]

READING, WRITING = 6, 10
"""Largest difference of a colour: after another conversion to RGB, and after another encoding."""
_MS = 0.001
_COARSE = (8, 6)  # an image is compared in so many fields


@dataclass(frozen=True, slots=True)
class Seen:
    """Contents of a video.

    Attributes:
        times: time of each frame in seconds, from the first.
        first: first image, upright.
        last: last image, upright.
        sound: seconds from the first to the end of the last packet of sound; 0 without sound.
        aspect: width by height as a player shows it.
    """

    times: NDArray[np.float64]
    first: Image
    last: Image
    sound: float
    aspect: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.first.shape[1], self.first.shape[0]


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one sample; ``faults`` is empty if it passed."""

    name: str
    kind: str
    container: str
    video: str
    pixels: str
    sound: str
    frames: int
    size: tuple[int, int]
    faults: list[str]


def check(path: Path, out: Path, kind: str = "") -> Result:
    """Read ``path`` with nasion, write an annotated video to ``out``, and compare both with what ffmpeg sees."""
    probed = _probe(path)
    video = _video(probed)
    audio = next((each["codec_name"] for each in probed["streams"] if each["codec_type"] == "audio"), "")
    truth = by_ffmpeg(path, probed)
    faults = []
    try:
        read = by_nasion(path, out, truth)
        faults += _differences("read", read, truth, READING)
        written = by_ffmpeg(out, _probe(out))
        faults += _differences("written", written, read, WRITING)
    except (NasionError, ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
        faults.append(f"{type(error).__name__}: {error}".replace(str(path.parent), "").replace(str(out.parent), ""))
    return Result(
        path.name,
        kind,
        probed["format"]["format_name"].split(",")[0],
        video["codec_name"],
        video["pix_fmt"],
        audio,
        len(truth.times),
        truth.size,
        faults,
    )


def _video(probed: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in probed["streams"] if each["codec_type"] == "video")
    return found


def by_nasion(path: Path, out: Path, truth: Seen) -> Seen:
    """Read a video with nasion, and write it to ``out`` as an annotated video without faces."""
    times, images = [], []
    with open_source(path) as source, VideoSink(out, source.info) as sink:
        for frame in source:
            times.append(frame.time)
            images = [*images[:1], frame.image]
            sink.write(frame, [])
    return Seen(np.array(times) - times[0], images[0], images[-1], truth.sound, truth.aspect)


def by_ffmpeg(path: Path, probed: dict[str, Any]) -> Seen:
    """Read a video, of which ffprobe has told all, with ffmpeg, upright."""
    video = _video(probed)
    frames = [
        each
        for each in probed["packets_and_frames"]
        if each["type"] == "frame" and each["stream_index"] == video["index"]
    ]
    rate = video["r_frame_rate"] if video["avg_frame_rate"] == "0/0" else video["avg_frame_rate"]
    times = _filled([each.get("best_effort_timestamp_time") for each in frames], Fraction(rate))
    first, last = _ends(path, str(video["index"]))
    return Seen(times - times[0], first, last, _sound(probed), _aspect(video, first))


def _filled(stamps: list[str | None], rate: Fraction) -> NDArray[np.float64]:
    """Return the times of frames; ffprobe knows none for some frames of a constant rate."""
    known = [k for k, stamp in enumerate(stamps) if stamp is not None]
    if not known:
        return np.arange(len(stamps)) / float(rate)
    numbers, times = np.arange(len(stamps)), np.array([float(stamps[k] or 0) for k in known])
    inside = np.interp(numbers, known, times)
    before, after = (numbers - known[0]) / float(rate), (numbers - known[-1]) / float(rate)
    return np.asarray(inside + np.minimum(before, 0) + np.maximum(after, 0))


def _aspect(video: dict[str, Any], image: Image) -> float:
    """Return width by height of an upright image as a player shows it."""
    wide, _, high = video.get("sample_aspect_ratio", "1:1").partition(":")
    pixel = int(wide) / int(high) if int(wide) else 1.0
    is_turned = any(abs(int(each.get("rotation", 0))) == 90 for each in video.get("side_data_list", []))
    return float(image.shape[1] / image.shape[0] * (1 / pixel if is_turned else pixel))


def _ends(path: Path, number: str) -> list[Image]:
    """Return the first and the last image."""
    chosen = ["-map", f"0:{number}", "-fps_mode", "passthrough"]
    encoded = ["-pix_fmt", "bgr24", "-f", "image2pipe", "-c:v", "bmp", "-"]
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-i", str(path), *chosen, *encoded],
        capture_output=True,
        check=True,
        timeout=120,
    )
    data, places, place = done.stdout, [], 0
    while place < len(data):
        places.append(place)
        place += int.from_bytes(data[place + 2 : place + 6], "little")
    ends = [data[places[0] :], data[places[-1] :]]
    return [np.asarray(cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR), np.uint8) for each in ends]


def _sound(probed: dict[str, Any]) -> float:
    read = probed["packets_and_frames"]
    packets = [each for each in read if each["type"] == "packet" and each["codec_type"] == "audio"]
    timed = [each for each in packets if "pts_time" in each]
    if not timed:
        return float(bool(packets))
    end = max(float(each["pts_time"]) + float(each.get("duration_time", 0)) for each in timed)
    return end - float(timed[0]["pts_time"])


def _differences(what: str, seen: Seen, truth: Seen, tolerance: int) -> Iterator[str]:
    count = min(len(seen.times), len(truth.times))
    if len(seen.times) != len(truth.times):
        yield f"{what}: {len(seen.times)} frames, not {len(truth.times)}"
    worst = float(np.abs(seen.times[:count] - truth.times[:count]).max())
    if worst > _MS:
        yield f"{what}: times differ by {1000 * worst:.1f} ms"
    even = (truth.size[0] + truth.size[0] % 2, truth.size[1] + truth.size[1] % 2)  # as H.264 in 4:2:0 needs it
    if seen.size not in (truth.size, even if what == "written" else truth.size):
        yield f"{what}: {'x'.join(map(str, seen.size))}, not {'x'.join(map(str, truth.size))}"
    if abs(seen.aspect / truth.aspect - 1) > 0.02:
        yield f"{what}: shown {seen.aspect:.2f} times as wide as high, not {truth.aspect:.2f}"
    for name in ("first", "last"):
        off = _off(getattr(seen, name), getattr(truth, name))
        if off > tolerance:
            yield f"{what}: colours of the {name} image differ by {off:.0f}"
    if seen.sound < 0.8 < truth.sound:
        yield f"{what}: {seen.sound:.2f} s of sound, not {truth.sound:.2f} s"


def _off(one: Image, other: Image) -> float:
    """Return the largest difference of the mean colours of two images, in fields."""
    coarse = [cv2.resize(each, _COARSE, interpolation=cv2.INTER_AREA).astype(int) for each in (one, other)]
    return float(np.abs(coarse[0] - coarse[1]).max())


def _probe(path: Path) -> dict[str, Any]:
    options = ["-show_streams", "-show_format", "-show_packets", "-show_frames"]
    command = ["ffprobe", "-v", "error", "-of", "json", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
