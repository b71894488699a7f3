"""File with atomic appends: a full disk leaves no partial piece."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ...engines.closing import Closing
from ...engines.output_paths import is_there, make_folder, remove_if_empty


class WholeFile(Closing):
    """File to which each piece is appended completely or not at all.

    Writes are unbuffered, so a killed process leaves everything that it wrote.

    A new file in which nothing was written is removed when it is closed.
    """

    def __init__(self, path: Path, *, append: bool = False) -> None:
        """Open ``path`` and truncate it, or with ``append`` keep its content. A missing folder is created.

        Raises:
            OSError: the file cannot be written.
        """
        self._path, self._is_new = path, not is_there(path)
        make_folder(path)
        self._file = path.open("ab" if append else "wb", buffering=0)
        self._end = self._file.tell() if append else 0  # end of the written data
        self._claimed = self._end  # end of the file, which may include reserved space after the data

    @property
    def closed(self) -> bool:
        """True once the file is closed. Needed by pyarrow."""
        return self._file.closed

    def write(self, piece: bytes) -> int:
        """Append ``piece`` and return its length.

        Raises:
            OSError: there is not enough space for all of it; the file is unchanged.
        """
        self._put(piece, self._end)
        self._end += len(piece)
        self._claimed = max(self._claimed, self._end)
        return len(piece)

    def flush(self) -> None:
        """Return at once, because writes are unbuffered. Needed by pyarrow."""

    def sync(self) -> None:
        """Return once everything written is on the disk.

        Raises:
            OSError: it cannot be stored.
        """
        os.fsync(self._file.fileno())

    def reserve(self, size: int) -> None:
        """Reserve space for the next ``size`` bytes by writing zeros; ``close`` releases what was not used.

        Raises:
            OSError: there is not enough space; the file is unchanged.
        """
        missing = self._end + size - self._claimed
        if missing > 0 and self._file.seekable():
            self._put(bytes(missing), self._claimed)
            self._claimed += missing

    def close(self) -> None:
        """Close the file and release reserved space. Calling it again does nothing."""
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
            while rest:  # the system may write only a part
                rest = rest[self._file.write(rest) :]
        except BaseException:
            with suppress(OSError):  # a pipe or device cannot be truncated
                self._file.truncate(self._claimed)
            raise
