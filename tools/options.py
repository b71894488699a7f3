"""Options that several commands share, and how they are written on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter, Token

if TYPE_CHECKING:
    from ..realtime.tracking.tracker import Tracker


class Time(float):
    """Seconds, written as ``90``, ``1:30`` or ``0:01:30.0``."""


class Size(tuple[int, int]):
    """Width and height, written as ``1280x720``."""


class Parts(tuple[str, ...]):
    """Parts of a drawing, written as ``box,landmarks``, or ``none``."""


PARTS = ("box", "label", "landmarks", "lines")


def parse_time(text: str) -> Time:
    """Read seconds or [HH:]MM:SS.

    Raises:
        ValueError: it is neither.
    """
    if not re.fullmatch(r"(\d+:){0,2}(\d+\.?\d*|\.\d+)", text):
        raise ValueError(f"{text!r} is no time; give seconds, MM:SS or HH:MM:SS, for example 90 or 1:30")
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return Time(seconds)


def parse_size(text: str) -> Size:
    """Read WIDTHxHEIGHT.

    Raises:
        ValueError: it is not of that form.
    """
    match = re.fullmatch(r"([1-9]\d*)[x×]([1-9]\d*)", text.lower())
    if not match:
        raise ValueError(f"{text!r} is no size; give width and height in pixels, for example 1280x720")
    return Size((int(match[1]), int(match[2])))


def read_time(kind: type, tokens: Sequence[Token]) -> Time:
    """Read a time of the command line."""
    return parse_time(tokens[0].value)


def read_parts(kind: type, tokens: Sequence[Token]) -> Parts:
    """Read the parts of a drawing of the command line."""
    text = tokens[0].value
    return Parts(() if text == "none" else [part.strip() for part in text.split(",")])


def read_size(kind: type, tokens: Sequence[Token]) -> Size:
    """Read a size of the command line."""
    return parse_size(tokens[0].value)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Tracking:
    """How to track; what is not given is the tracker's default.

    Attributes:
        model: landmark network: the name of a shipped one, or an .onnx or .pt2 file; one that finds faces itself
            needs no detector. A .plan file is code: run only those that you built.
        detector: face detector: the name of a shipped one, or a file.
        runtime: what runs the networks; auto takes the fastest that works here.
        device: cpu, cuda:N, or auto for a GPU where the runtime can use one.
        detect_interval: seconds from one detection of new faces to the next; 0 for every frame.
        detect_size: longer side in pixels of the picture that the detector sees; more finds smaller faces.
        max_faces: follow at most so many faces.
        smooth: light calms the points without visible lag, strong more so, none leaves them raw.
        threads: threads for each network and for OpenCV.
        keep: seconds for which a face out of sight keeps its identity.
    """

    model: str | None = None
    detector: str | None = None
    runtime: Literal["auto", "onnx", "torch", "tensorrt"] | None = None
    device: str | None = None
    detect_interval: float | None = None
    detect_size: int | None = None
    max_faces: int | None = None
    smooth: Literal["none", "light", "strong"] | None = None
    threads: int | None = None
    keep: float | None = None

    def given(self) -> dict[str, Any]:
        """The options that were given, by their names in ``TrackerOptions``."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def where_to_decode(self, asked: str) -> str:
        """As ``TrackerOptions.where_to_decode``."""
        from ..realtime.pipeline import tracker_options

        return tracker_options(self.given()).where_to_decode(asked)

    def tracker(self, **changes: Any) -> Tracker:
        """Load the networks, with some options changed."""
        from ..realtime.pipeline import tracker_options
        from ..realtime.tracking.tracker import Tracker

        return Tracker(tracker_options({**self.given(), **changes}))


DEFAULTS = Tracking()
