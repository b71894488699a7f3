"""Log messages without characters that can control a terminal."""

from __future__ import annotations

import logging

from ..engines.errors import printable


class Plain(logging.Formatter):
    """Formats warnings without control characters: they name files and entries of files."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return printable(super().format(record), lines=True)


def make_plain() -> None:
    """Use ``Plain`` for what is logged where nobody has set up logging."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Plain())
