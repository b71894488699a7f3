"""Options shared by several commands, and their parsers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from inspect import getdoc
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_type_hints

from cyclopts import Parameter, Token

from ..realtime.tracking.options import TrackerKeywords, TrackerOptions
from ..realtime.values.source_options import SourceKeywords, SourceOptions


class Time(float):
    """Time in seconds, written as ``90``, ``1:30`` or ``0:01:30.0``."""


class Size(tuple[int, int]):
    """Width and height, written as ``1280x720``."""


class Counts(tuple[int, ...]):
    """Whole numbers from 1 separated by commas, such as ``1,2,4``."""


class Duration(float):
    """Length of time in seconds, written as ``90``, ``90s``, ``10m`` or ``2h``."""


class Bytes(int):
    """Number of bytes, written as ``500M``, ``50G`` or ``2T`` (powers of 1000)."""


class Area(tuple[int, int, int, int]):
    """Rectangle of an image, written as ``X,Y,WIDTH,HEIGHT``."""


class Parts(tuple[str, ...]):
    """Names separated by commas, such as ``box,landmarks``, or ``none``."""


PARTS = ("box", "label", "landmarks", "lines", "axes", "bars")


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


def parse_counts(text: str) -> Counts:
    """Parse whole numbers separated by commas.

    Raises:
        ValueError: the text does not have that form.
    """
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text.replace(" ", "")):
        raise ValueError(f"{text!r} is not a list of numbers; give whole numbers from 1 to 9999, such as 1,2,4")
    return Counts(int(number) for number in text.split(","))


def read_counts(kind: type, tokens: Sequence[Token]) -> Counts:
    """Convert a command-line token to numbers."""
    return parse_counts(tokens[0].value)


def parse_duration(text: str) -> Duration:
    """Parse a number of seconds, minutes, hours or days.

    Raises:
        ValueError: the text does not have that form, or the duration is 0.
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)([smhd]?)", text.lower())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0
    if not seconds:
        raise ValueError(f"{text!r} is not a duration; give seconds, or for example 10m, 2h or 1d")
    return Duration(seconds)


def parse_bytes(text: str) -> Bytes:
    """Parse a size in bytes, with K, M, G or T for powers of 1000.

    Raises:
        ValueError: the text does not have that form, or the size is 0.
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)([kmgt]?)b?", text.lower())
    size = float(match[1]) * 1000 ** " kmgt".index(match[2] or " ") if match else 0.0
    if size < 1:
        raise ValueError(f"{text!r} is not a size; give bytes, or for example 500M or 50G")
    return Bytes(size)


def parse_area(text: str) -> Area:
    """Parse X,Y,WIDTH,HEIGHT in pixels.

    Raises:
        ValueError: the text does not have that form.
    """
    match = re.fullmatch(r"(\d+),(\d+),([1-9]\d*),([1-9]\d*)", text.replace(" ", ""))
    if not match:
        raise ValueError(f"{text!r} is not a part of an image; give x, y, width and height, such as 100,0,640,360")
    return Area(int(number) for number in match.groups())


def read_duration(kind: type, tokens: Sequence[Token]) -> Duration:
    """Convert a command-line token to a duration."""
    return parse_duration(tokens[0].value)


def read_bytes(kind: type, tokens: Sequence[Token]) -> Bytes:
    """Convert a command-line token to a number of bytes."""
    return parse_bytes(tokens[0].value)


def read_area(kind: type, tokens: Sequence[Token]) -> Area:
    """Convert a command-line token to a part of an image."""
    return parse_area(tokens[0].value)


def read_time(kind: type, tokens: Sequence[Token]) -> Time:
    """Convert a command-line token to a time."""
    return parse_time(tokens[0].value)


def read_parts(kind: type, tokens: Sequence[Token]) -> Parts:
    """Convert a command-line token to names."""
    text = tokens[0].value
    return Parts(() if text == "none" else [part.strip() for part in text.split(",")])


def read_size(kind: type, tokens: Sequence[Token]) -> Size:
    """Convert a command-line token to a size."""
    return parse_size(tokens[0].value)


_OF_TRACKER: dict[str, Any] = {"measures": Annotated[Parts, Parameter(converter=read_parts, n_tokens=1)]}
_OF_SOURCE: dict[str, Any] = {
    "start": Annotated[Time | None, Parameter(converter=read_time)],
    "end": Annotated[Time | None, Parameter(converter=read_time)],
    "size": Annotated[Size | None, Parameter(converter=read_size, n_tokens=1)],
}
_WRITTEN = {
    "start": "in seconds or as [HH:]MM:SS",
    "end": "in seconds or as [HH:]MM:SS",
    "size": "as WIDTHxHEIGHT, for example 1280x720",
}
"""How the values of some options are written on the command line."""


def _given(kind: type[TrackerOptions | SourceOptions], types: Mapping[str, Any], *, without: str = "") -> Any:
    """Return the type of some options on the command line: a dict of those given.

    Names, types, help and defaults are those of a dataclass, but for the field ``without``; ``types`` replaces types
    that need a parser.
    """
    types = get_type_hints(kind) | dict(types)
    described = descriptions(kind)
    options: dict[str, Any] = {}
    for field in fields(kind):  # the default is a part of the text: not every cyclopts shows that of a dict
        if field.name == without:
            continue
        shown = "none" if field.default == () else field.default
        written = f" Written {_WRITTEN[field.name]}." if field.name in _WRITTEN else ""
        default = "" if field.default is None else f" [default: {shown}]"
        parameter = Parameter(help=described[field.name] + written + default, show_default=False)
        options[field.name] = Annotated[types[field.name], parameter]
    given = TypedDict("given", options, total=False)  # type: ignore[misc]  # made of another type
    return Annotated[given, Parameter(name="*")]


def descriptions(kind: type) -> dict[str, str]:
    """Return the description of each attribute in the docstring of a class, as one line of plain text."""
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", getdoc(kind) or "", re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in entries}


if TYPE_CHECKING:
    Tracking = TrackerKeywords
    AllMeasures = TrackerKeywords
    Reading = SourceKeywords
else:
    Tracking = _given(TrackerOptions, _OF_TRACKER)
    AllMeasures = _given(TrackerOptions, _OF_TRACKER, without="measures")
    Reading = _given(SourceOptions, _OF_SOURCE)

NONE_GIVEN: Tracking = {}
NOTHING_GIVEN: Reading = {}
