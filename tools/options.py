"""Options shared by several commands, and their parsers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter, Token

if TYPE_CHECKING:
    from ..realtime.tracking.tracker import Tracker


class Time(float):
    """Time in seconds, written as ``90``, ``1:30`` or ``0:01:30.0``."""


class Size(tuple[int, int]):
    """Width and height, written as ``1280x720``."""


class Parts(tuple[str, ...]):
    """Parts of a face to draw, written as ``box,landmarks``, or ``none``."""


PARTS = ("box", "label", "landmarks", "lines")


def parse_time(text: str) -> Time:
    """Parse seconds or [HH:]MM:SS.

    Raises:
        ValueError: the text is neither.
    """
    if not re.fullmatch(r"(\d+:){0,2}(\d+\.?\d*|\.\d+)", text):
        raise ValueError(f"{text!r} is not a time; give seconds, MM:SS or HH:MM:SS, for example 90 or 1:30")
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return Time(seconds)


def parse_size(text: str) -> Size:
    """Parse WIDTHxHEIGHT.

    Raises:
        ValueError: the text does not have that form.
    """
    match = re.fullmatch(r"([1-9]\d*)[x×]([1-9]\d*)", text.lower())
    if not match:
        raise ValueError(f"{text!r} is not a size; give width and height in pixels, for example 1280x720")
    return Size((int(match[1]), int(match[2])))


def read_time(kind: type, tokens: Sequence[Token]) -> Time:
    """Convert a command-line token to a time."""
    return parse_time(tokens[0].value)


def read_parts(kind: type, tokens: Sequence[Token]) -> Parts:
    """Convert a command-line token to the parts to draw."""
    text = tokens[0].value
    return Parts(() if text == "none" else [part.strip() for part in text.split(",")])


def read_size(kind: type, tokens: Sequence[Token]) -> Size:
    """Convert a command-line token to a size."""
    return parse_size(tokens[0].value)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Tracking:
    """Tracking options of the command line; options that are not given keep the tracker's defaults.

    Attributes:
        model: landmark network: the name of a shipped network, or an .onnx or .pt2 file. A network that finds faces
            itself needs no detector. A .plan file is code: run only plans that you built.
        detector: face detector: the name of a shipped network, or a file.
        runtime: runtime of the networks; auto takes the fastest that works here.
        device: cpu, cuda:N, or auto for a GPU if the runtime can use one.
        detect_interval: seconds between two detections of new faces; 0 detects in every frame.
        detect_size: longer side in pixels of the detector's input image; larger values find smaller faces.
        max_faces: largest number of faces to track.
        smooth: light reduces jitter without visible lag, strong reduces it further, none returns raw landmarks.
        threads: threads for each network and for OpenCV.
        keep: seconds for which a face that is not seen keeps its ID.
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
        """Return the options that were given, by their names in ``TrackerOptions``."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def where_to_decode(self, asked: str) -> str:
        """Return the device to decode on, as ``TrackerOptions.where_to_decode`` does."""
        from ..realtime.pipeline import tracker_options

        return tracker_options(self.given()).where_to_decode(asked)

    def tracker(self, **changes: Any) -> Tracker:
        """Build the tracker and load its networks; ``changes`` override options."""
        from ..realtime.pipeline import tracker_options
        from ..realtime.tracking.tracker import Tracker

        return Tracker(tracker_options({**self.given(), **changes}))


DEFAULTS = Tracking()
