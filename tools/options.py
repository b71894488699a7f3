"""Options shared by several commands, and their parsers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from inspect import getdoc
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_type_hints

from cyclopts import Parameter, Token

from ..realtime.tracking.options import TrackerKeywords, TrackerOptions


class Time(float):
    """Time in seconds, written as ``90``, ``1:30`` or ``0:01:30.0``."""


class Size(tuple[int, int]):
    """Width and height, written as ``1280x720``."""


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


def _tracking() -> Any:
    """Return the type of the tracker options on the command line: a dict of those given.

    Names, types, help and defaults are those of ``TrackerOptions``.
    """
    types = get_type_hints(TrackerOptions) | {"measures": Annotated[Parts, Parameter(converter=read_parts, n_tokens=1)]}
    described = descriptions(TrackerOptions)
    options: dict[str, Any] = {}
    for field in fields(TrackerOptions):  # the default is a part of the text: not every cyclopts shows that of a dict
        shown = "none" if field.default == () else field.default
        default = "" if field.default is None else f" [default: {shown}]"
        parameter = Parameter(help=described[field.name] + default, show_default=False)
        options[field.name] = Annotated[types[field.name], parameter]
    given = TypedDict("given", options, total=False)  # type: ignore[misc]  # made of another type
    return Annotated[given, Parameter(name="*")]


def descriptions(kind: type) -> dict[str, str]:
    """Return the description of each attribute in the docstring of a class, as one line of plain text."""
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", getdoc(kind) or "", re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in entries}


if TYPE_CHECKING:
    Tracking = TrackerKeywords
else:
    Tracking = _tracking()

NONE_GIVEN: Tracking = {}
