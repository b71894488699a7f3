"""Log messages without terminal control characters."""

from __future__ import annotations

import logging

from ...engines.errors import printable


class Plain(logging.Formatter):
    """Formatter that removes control characters: log messages quote names of files and text from files."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the printable text of a record."""
        return printable(super().format(record), lines=True)


def make_plain() -> None:
    """Use ``Plain`` for the handler of last resort, which logs if the application has not set up logging."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Plain())
