"""Frames of sample videos, read back, with their times and the numbers that their images show."""

from __future__ import annotations

from pathlib import Path

from nasion.realtime.faces.frame import Frame
from nasion.realtime.sources import open_source

from .media_samples import number_of


def read(path: Path, **cut: float) -> list[Frame]:
    with open_source(path, **cut) as source:  # type: ignore[arg-type]
        return list(source)


def times(frames: list[Frame]) -> list[float]:
    return [round(frame.time, 6) for frame in frames]


def numbers(frames: list[Frame]) -> list[int]:
    return [number_of(frame.image) for frame in frames]
