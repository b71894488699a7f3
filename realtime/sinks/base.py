"""What every output has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from ...engines.closing import Closing
from ...engines.errors import SinkError
from ...engines.output_paths import writing as writing
from ..faces import Face, Frame


class Sink(Closing):
    """Takes frames in order, with the faces in them; a context manager that keeps what was written.

    A file is opened, and one that was there before replaced, when the first frame arrives. Closing twice does
    nothing; writing after that raises SinkError.
    """

    @property
    def stopped(self) -> bool:
        """True once the user wants no more frames."""
        return False

    @abstractmethod
    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Write one frame.

        Raises:
            SinkError: it cannot be written, or the sink is closed.
        """


def closed(path: Path) -> SinkError:
    """The error of writing to ``path`` after closing."""
    return SinkError(f"{str(path)!r} is closed; open it again")
