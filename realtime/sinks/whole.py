"""A file that grows by whole pieces: a full disk leaves none of them torn."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ...engines.closing import Closing
from ...engines.output_paths import is_there, remove_if_empty


class WholeFile(Closing):
    """Bytes appended whole or not at all, and with the system at once: a killed process leaves what it wrote.

    A new file in which nothing was written is removed when it is closed.
    """

    def __init__(self, path: Path, *, append: bool = False) -> None:
        """Open ``path`` and empty it, or ``append`` to what it holds.

        Raises:
            OSError: it cannot be written.
        """
        self._path, self._is_new = path, not is_there(path)
        self._file = path.open("ab" if append else "wb", buffering=0)
        self._end = self._file.tell() if append else 0  # of what was written
        self._claimed = self._end  # end of the file: there may be room after what was written

    @property
    def closed(self) -> bool:
        """True once it was closed; pyarrow asks."""
        return self._file.closed

    def write(self, piece: bytes) -> int:
        """Append ``piece`` and return its length.

        Raises:
            OSError: there is no room for all of it; the file is as it was before.
        """
        self._put(piece, self._end)
        self._end += len(piece)
        self._claimed = max(self._claimed, self._end)
        return len(piece)

    def flush(self) -> None:
        """Nothing waits; pyarrow calls it."""

    def reserve(self, size: int) -> None:
        """Make sure of the room for the next ``size`` bytes, by zeros; ``close`` gives back what was not used.

        Raises:
            OSError: there is no such room; the file is as it was before.
        """
        missing = self._end + size - self._claimed
        if missing > 0 and self._file.seekable():
            self._put(bytes(missing), self._claimed)
            self._claimed += missing

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        if self._file.closed:
            return
        with self._file:
            if self._claimed > self._end:
                self._file.truncate(self._end)
        if self._is_new and not self._end:
            remove_if_empty(self._path)

    def _put(self, data: bytes, place: int) -> None:
        if self._file.seekable():
            self._file.seek(place)
        rest = memoryview(data)
        try:
            while rest:  # the system may take less than it is given
                rest = rest[self._file.write(rest) :]
        except BaseException:
            with suppress(OSError):  # from a pipe or device nothing can be taken back
                self._file.truncate(self._claimed)
            raise
