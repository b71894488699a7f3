"""Interface of exports, and landmark files."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ....engines.closing import Closing
from ...sinks.base import Sink
from ...sinks.header import Header
from ...values.scheme import LandmarkScheme
from ...values.schemes import SCHEMES
from ..journal import JournalHeader
from ..look_ahead.annotation import Annotated


class Annotations(Protocol):
    """Annotated frames of an input, which can be iterated as often as needed.

    Attributes:
        path: the journal.
        journal: header of the journal.
        header: header of landmark files.
    """

    path: Path
    journal: JournalHeader
    header: Header

    def __iter__(self) -> Iterator[Annotated]:
        """Yield every frame in order."""
        ...


class Export(Closing):
    """Output of annotated frames. A context manager that closes its files."""

    @abstractmethod
    def write(self, annotated: Annotated) -> None:
        """Write the next frame.

        Raises:
            SinkError: it cannot be written.
        """

    def finish(self) -> None:
        """Write what follows the last frame.

        Raises:
            SinkError: it cannot be written.
        """


def readable(name: str) -> str:
    """Return a file name as text that every format can hold.

    Bytes that are not UTF-8 and control characters are written as escapes, such as ``\\xe9``.
    """
    text = os.fsencode(name).decode(errors="backslashreplace")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class TableExport(Export):
    """Landmark file, written by a sink."""

    def __init__(self, sink: Sink) -> None:
        """Take ownership of a sink."""
        self._sink = sink

    def write(self, annotated: Annotated) -> None:
        """Write the frame."""
        frame = annotated.frame
        if frame.file:
            frame = replace(frame, file=readable(frame.file))
        self._sink.write(frame, annotated.faces)  # type: ignore[arg-type]  # index, time and file suffice

    def finish(self) -> None:
        """Complete the file."""
        self._sink.close()

    def close(self) -> None:
        """Close the file."""
        self._sink.close()


def scheme_of_header(header: Header) -> LandmarkScheme | None:
    """Return the landmark scheme of annotations; None if it is unknown."""
    return SCHEMES.get(header.scheme)


def landmark_names(header: Header) -> Sequence[str]:
    """Return a name for each landmark: the smallest part of the scheme that has it, and its number there from 1."""
    scheme = scheme_of_header(header)
    names = [f"landmark_{i}" for i in range(header.landmarks)]
    if scheme is None:
        return names
    for part, members in sorted(scheme.parts.items(), key=lambda each: -len(each[1])):
        for number, i in enumerate(members, start=1):
            names[i] = f"{part}_{number}"
    return names
