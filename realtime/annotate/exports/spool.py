"""Text that is collected beside a file until it has its place there, with little memory."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TextIO

from ....engines.closing import Closing

_MOST = 1 << 16  # characters that are kept in memory for each text


class Spool(Closing):
    """Texts by number, each in a temporary file of its own."""

    def __init__(self, folder: Path) -> None:
        """Collect the texts in a folder that ``close`` removes."""
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        self._waiting: dict[int, list[str]] = {}
        self._length: dict[int, int] = {}

    def add(self, number: int, text: str) -> None:
        """Append to a text.

        Raises:
            OSError: it cannot be written.
        """
        self._waiting.setdefault(number, []).append(text)
        self._length[number] = self._length.get(number, 0) + len(text)
        if self._length[number] > _MOST:
            self._store(number)

    @property
    def numbers(self) -> list[int]:
        """Numbers of the texts, in order."""
        return sorted(self._waiting)

    def put(self, number: int, file: TextIO) -> None:
        """Copy a text into a file.

        Raises:
            OSError: it cannot be written.
        """
        stored = self._folder / str(number)
        if stored.exists():
            with stored.open(encoding="utf-8") as text:
                shutil.copyfileobj(text, file)
        file.writelines(self._waiting[number])

    def _store(self, number: int) -> None:
        self._folder.mkdir(exist_ok=True)
        with (self._folder / str(number)).open("a", encoding="utf-8") as file:
            file.writelines(self._waiting[number])
        self._waiting[number], self._length[number] = [], 0

    def close(self) -> None:
        """Remove the temporary files."""
        shutil.rmtree(self._folder, ignore_errors=True)
