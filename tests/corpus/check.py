"""Comparison of what nasion reads from a video, and of the annotated video that it writes, with ffprobe and ffmpeg."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
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
    """What is in a video.

    Attributes:
        times: time of each frame in seconds, from the first.
        first: first image, upright.
        last: last image, upright.
        sound: seconds from the first to the end of the last packet of sound; 0 without sound.
    """

    times: list[float]
    first: Image
    last: Image
    sound: float

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

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def check(path: Path, out: Path, kind: str = "") -> Result:
    """Read ``path`` with nasion, write an annotated video to ``out``, and compare both with what ffmpeg sees."""
    streams = _probe(path, "-show_streams", "-show_format")
    video = next(each for each in streams["streams"] if each["codec_type"] == "video")
    audio = next((each["codec_name"] for each in streams["streams"] if each["codec_type"] == "audio"), "")
    truth = by_ffmpeg(path, video)
    faults = []
    try:
        read = by_nasion(path, out)
        faults += _differences("read", read, truth, READING)
        written_stream = _probe(out, "-show_streams")["streams"][0]
        faults += _differences("written", by_ffmpeg(out, written_stream), read, WRITING)
    except (NasionError, ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
        faults.append(f"{type(error).__name__}: {error}".replace(str(path.parent), "").replace(str(out.parent), ""))
    return Result(
        path.name,
        kind,
        streams["format"]["format_name"].split(",")[0],
        video["codec_name"],
        video["pix_fmt"],
        audio,
        len(truth.times),
        truth.size,
        faults,
    )


def by_nasion(path: Path, out: Path) -> Seen:
    """Read a video with nasion, and write it to ``out`` as an annotated video without faces."""
    times, images = [], []
    with open_source(path) as source, VideoSink(out, source.info) as sink:
        for frame in source:
            times.append(frame.time)
            images = [*images[:1], frame.image]
            sink.write(frame, [])
    return Seen([time - times[0] for time in times], images[0], images[-1], _sound(path))


def by_ffmpeg(path: Path, video: dict[str, Any]) -> Seen:
    """Read a video with ffprobe and ffmpeg; its images as a player shows them, upright and with square pixels."""
    number = str(video["index"])
    entries = "frame=best_effort_timestamp_time"
    frames = _probe(path, "-select_streams", number, "-show_entries", entries)["frames"]
    times = [float(each["best_effort_timestamp_time"]) for each in frames]
    pictures = _images(path, number)
    return Seen([time - times[0] for time in times], pictures[0], pictures[-1], _sound(path))


def _images(path: Path, number: str) -> list[Image]:
    """Return the first and the last image."""
    chosen = ["-map", f"0:{number}", "-vsync", "passthrough"]
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


def _sound(path: Path) -> float:
    packets = _probe(path, "-select_streams", "a:0", "-show_entries", "packet=pts_time,duration_time").get("packets")
    timed = [each for each in packets or [] if "pts_time" in each]
    if not timed:
        return float(bool(packets))
    end = max(float(each["pts_time"]) + float(each.get("duration_time", 0)) for each in timed)
    return end - float(timed[0]["pts_time"])


def _differences(what: str, seen: Seen, truth: Seen, tolerance: int) -> Iterator[str]:
    if len(seen.times) != len(truth.times):
        yield f"{what}: {len(seen.times)} frames, not {len(truth.times)}"
    worst = max(abs(one - other) for one, other in zip(seen.times, truth.times, strict=False))
    if worst > _MS:
        yield f"{what}: times differ by {1000 * worst:.1f} ms"
    if seen.size != truth.size:
        yield f"{what}: {'x'.join(map(str, seen.size))}, not {'x'.join(map(str, truth.size))}"
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


def _probe(path: Path, *options: str) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-of", "json", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
