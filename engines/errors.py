"""Errors the user can fix.

Each message says what was given, what is allowed and what to do next. The command line prints these errors without a
traceback, as it does operating-system errors about files and memory (``tools/error_messages.py``). Any other exception
is a bug in nasion and keeps its traceback.
"""

from __future__ import annotations

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


def extra_remedy(extra: str) -> str:
    """Return how to install an extra of nasion."""
    return f"install the extra {extra}: pip install 'nasion[{extra}]', or in a checkout pip install '.[{extra}]'"


# as glibc, C++, FFmpeg, OpenCV, ONNX Runtime, Python and torch say it
_NO_MEMORY = (
    "failed to map segment", "bad_alloc", "bad alloc", "insufficient memory", "can't start new thread",
    "cannot allocate memory", "can't allocate memory", "out of memory", "unable to allocate",
    "failed to allocate memory", "alloc_failed",
)  # fmt: skip


def lacks_memory(error: BaseException) -> bool:
    """Return whether ``error``, of Python or any library, says that there is not enough memory."""
    said = str(error).lower() if isinstance(error, Exception) else ""
    return isinstance(error, MemoryError) or any(each in said for each in _NO_MEMORY)


class NasionError(Exception):
    """Base class of errors the user can fix: a wrong path, a missing extra, a damaged file.

    Examples:
        >>> import nasion
        >>> try:
        ...     nasion.TrackerOptions(max_faces=0)
        ... except nasion.NasionError as error:
        ...     print(error)
        max_faces=0 is not allowed; give a whole number from 1 to 2147483647
    """


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

    @classmethod
    def out_of_memory(cls, device: str, error: object) -> DeviceError:
        """Return the error for a device on which another library ran out of memory, with its message and the remedy."""
        return cls(
            f"there is not enough memory on {device} ({foreign(error)}); close other programs on this GPU, give fewer "
            "or smaller images at a time, or run on --device cpu"
        )


class NoGpu(DeviceError):
    """No NVIDIA GPU, or no driver for one: networks run on the CPU."""


class MissingExtra(NasionError):
    """An optional package that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        """Name the missing ``package``, the ``extra`` that brings it and what it is needed for."""
        self._arguments = package, extra, purpose
        super().__init__(f"{purpose} needs {package}, which is not installed; {extra_remedy(extra)}")

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str, str]]:
        """Pickle the arguments, so that a process pool can raise the error in its parent."""
        return MissingExtra, self._arguments
