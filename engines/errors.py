"""Errors the user can fix.

Each message says what was given, what is allowed and what to do next. The command line prints these errors without a
traceback, as it does operating-system errors about files and memory (``tools/error_messages.py``). Any other exception
is a bug in nasion and keeps its traceback.
"""

LONGEST_MESSAGE = 500


def printable(text: object, *, lines: bool = False, longest: int | None = None) -> str:
    """Return ``text`` without characters that can control a terminal.

    Names in files, file names and messages of other libraries may hold control characters, escape sequences and marks
    that change the direction of text. Such characters are written as Python escapes, for example ``\\x1b``.

    Args:
        text: any object; its ``str`` is used.
        lines: keep line breaks.
        longest: maximum number of characters; longer text is cut and ends in an ellipsis.
    """
    safe = "".join(
        each if each.isprintable() or (lines and each == "\n") else each.encode("unicode_escape").decode("ascii")
        for each in str(text)
    )
    return safe if longest is None or len(safe) <= longest else f"{safe[: longest - 1]}…"


def foreign(error: object) -> str:
    """Return the message of another library's error as one short line that is safe to print."""
    return printable(" ".join(str(error).split()), longest=LONGEST_MESSAGE)


class NasionError(Exception):
    """Base class of errors the user can fix: a wrong path, a missing extra, a damaged file."""


class SourceError(NasionError):
    """A video, camera, stream or image that cannot be read."""


class SinkError(NasionError):
    """An output that cannot be written."""


class ModelError(NasionError):
    """A model file that is missing, damaged or of the wrong kind."""


class RuntimeUnavailable(NasionError):
    """A runtime that was requested by name and does not work on this machine."""


class DeviceError(NasionError):
    """A GPU that is missing or that failed."""


class MissingExtra(NasionError):
    """An optional package that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        """Name the missing ``package``, the ``extra`` that installs it and the ``purpose`` it serves."""
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'nasion[{extra}]'")
