"""Base class of all sinks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from ...engines.closing import Closing
from ...engines.errors import SinkError
from ...engines.output_paths import writing as writing
from ..faces.face import Face
from ..faces.frame import Frame

STREAM = Path("-")
"""Stands for standard output in place of a file."""


class Sink(Closing):
    """Output of frames, in order, and the faces in them. A context manager that always keeps what was written.

    A file is opened, and an existing one replaced, when the first frame arrives. Closing again does nothing; writing
    after closing raises ``SinkError``.
    """

    @property
    def stopped(self) -> bool:
        """True once the user has closed the output, such as a window."""
        return False

    @abstractmethod
    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Write one frame.

        Raises:
            SinkError: the frame cannot be written, or the sink is closed.
        """


def closed(path: Path) -> SinkError:
    """Build the error for writing to ``path`` after closing."""
    return SinkError(f"{str(path)!r} is closed; open it again")
