"""Grey images, written by the sink for videos, and the times at which a reader finds them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks.video import VideoSink
from nasion.realtime.sources import SourceInfo
from nasion.realtime.sources.base import Media
from nasion.realtime.values.arrays import Image


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
