"""What errors of the system and of libraries mean for a user, in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ..engines.output_paths import told

# as glibc, C++, OpenCV, Python and torch say it
_NO_MEMORY = re.compile(
    r"failed to map segment|bad.alloc|insufficient memory|can't start new thread|(cannot|can't) allocate memory"
    r"|out of memory|unable to allocate",
    re.IGNORECASE,
)


def explained(error: Exception) -> str | None:
    """Return what is wrong and what to do, or None for an error that is a defect of ours."""
    for cause in _causes(error):
        if isinstance(cause, MemoryError) or (isinstance(cause, Exception) and _NO_MEMORY.search(str(cause))):
            said = f" ({str(cause).strip().splitlines()[0]})" if str(cause).strip() else ""
            return f"there is not enough memory{said}; close other programs, or raise the limit on it (ulimit -v)"
    if isinstance(error, OSError):
        names = [each for each in (error.filename, error.filename2) if each is not None]
        return ": ".join([*(_name(each) for each in names[:1]), told(error)])
    return None


def _name(file: object) -> str:
    return repr(os.fsdecode(file) if isinstance(file, str | bytes | os.PathLike) else str(file))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
