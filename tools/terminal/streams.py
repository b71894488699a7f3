"""Standard streams of a command, made safe: closed or full ones, ended readers, and encodings of few characters."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from contextlib import suppress

from ...engines.errors import NasionError

TYPE_CHECKING = False  # as type checkers know it: the command imports this before it catches a signal
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_PLAIN = {"→": "->", "…": "...", "–": "-", "—": "-", "×": "x", "±": "+/-", "°": " degrees", "≥": ">=", "≤": "<="}
_OF_WRITING = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EBADF)
_BROKEN_PIPE = 128 + 13  # exit status of a program ended by SIGPIPE


class Streams:
    """Makes the standard streams usable, and checks at the end that all output was written.

    Output to a closed stream is discarded. Characters that an encoding lacks are written in ASCII. If the reader has
    ended, such as ``head``, the command ends silently.
    """

    def __enter__(self) -> Self:
        """Prepare the streams."""
        for number in range(3):
            try:
                os.fstat(number)
            except (
                OSError
            ):  # otherwise the next opened file would get this descriptor, and with it the output of libraries
                os.open(os.devnull, os.O_RDWR)
        codecs.register_error("nasion", _plain)
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:
                setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
            if hasattr(getattr(sys, name), "reconfigure"):
                getattr(sys, name).reconfigure(errors="nasion")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush the output.

        Raises:
            SystemExit: its reader is gone.
            NasionError: it cannot be written.
        """
        lost = _flush()
        if isinstance(error, OSError) and error.filename is None and error.errno in _OF_WRITING:
            lost = error  # of a stream: errors of our files have names
        if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
            lost = error.__context__  # rich, which prints help and tables, turns it into an exit with status 1
        if isinstance(lost, BrokenPipeError) and (kind is None or issubclass(kind, SystemExit | BrokenPipeError)):
            raise SystemExit(_BROKEN_PIPE) from None
        if lost is not None and (kind is None or issubclass(kind, SystemExit | OSError)):
            from ...engines.output_paths import cause_and_remedy

            raise NasionError(f"the output cannot be written: {cause_and_remedy(lost)}") from lost


def tell(text: str) -> None:
    """Print on standard error, if it is still there: the terminal may be gone."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _flush() -> OSError | None:
    """Flush standard output; drop what cannot be written, which Python would try again at exit."""
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        return error
    return None


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Write what cannot be encoded in ASCII."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(each, "?") for each in error.object[error.start : error.end]), error.end
