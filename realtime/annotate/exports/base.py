"""Interface of exports, and landmark files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Protocol

from ....engines.closing import Closing
from ...sinks.base import Sink
from ...sinks.header import Header
from ...values.schemes import SCHEMES, LandmarkScheme
from ..journal import JournalHeader
from ..look_ahead.annotation import Annotated


class Annotations(Protocol):
    """Annotated frames of an input, which can be iterated as often as needed.

    Attributes:
        journal: header of the journal.
        header: header of landmark files.
    """

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


class TableExport(Export):
    """Landmark file, written by a sink."""

    def __init__(self, sink: Sink) -> None:
        """Take ownership of a sink."""
        self._sink = sink

    def write(self, annotated: Annotated) -> None:
        """Write the frame."""
        self._sink.write(annotated.frame, annotated.faces)  # type: ignore[arg-type]  # index, time and file suffice

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
