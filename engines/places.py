"""Where a file is to be written: looked at before the work, so that none is done in vain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .errors import SinkError


def check_place(option: str, path: Path | None, *, force: bool, suffixes: Sequence[str] = ()) -> None:
    """See that a file can be written.

    Args:
        option: as the user gave it, e.g. ``--json``.
        path: of the file; None where none is wanted.
        force: it may replace another one.
        suffixes: those allowed (default: any).

    Raises:
        SinkError: it cannot be written, or is there already and may not be replaced.
    """
    if path is None:
        return
    named = f"{option} {str(path)!r}"
    if suffixes and path.suffix not in suffixes:
        raise SinkError(f"{named}: suffix {path.suffix!r}; allowed: {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise SinkError(f"{named}: there is no folder {str(path.parent)!r}; create it first")
    if path.is_dir():
        raise SinkError(f"{named} is a folder; give the name of a file")
    if path.exists() and not force:
        raise SinkError(f"{named} already exists; give another name, or replace it with --force")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SinkError(f"{named} may not be written by this user; give another name")
