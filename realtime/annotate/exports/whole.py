"""Outputs that appear complete or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ....engines.errors import SinkError
from ....engines.output_paths import make_folder, writing


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path``; what was written there takes its place at the end, and is removed after an error.

    It is synchronised to the disk before. It may be a file or a folder, and has the same suffix. Its name is used by
    no other process; ``alone.remove_parts`` finds what a killed process leaves.

    Raises:
        SinkError: it cannot be written.
    """
    part = path.with_name(f".part-{secrets.token_hex(4)}{path.suffix}")
    with writing(path):
        make_folder(path)
    try:
        yield part
        with writing(path):
            _synchronise(part)
            _replace(part, path)
    except BaseException as error:
        with suppress(OSError):  # report the first error
            _remove(part)
        if isinstance(error, SinkError):  # the user knows the output by its name
            raise SinkError(str(error).replace(str(part), str(path))) from error
        raise


def _synchronise(path: Path) -> None:
    if path.is_dir():
        if hasattr(os, "sync"):  # of many files, one call is faster than one for each
            os.sync()
        return
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _replace(part: Path, path: Path) -> None:
    if part.is_dir() and path.is_dir():
        old = part.with_name(f"{part.name}.old")
        path.rename(old)
        part.rename(path)
        _remove(old)
    else:
        part.replace(path)
    if os.name != "posix":  # a folder cannot be opened
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
