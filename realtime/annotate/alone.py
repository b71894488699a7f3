"""Lock of the folder of the outputs: one run at a time writes there, with all of its processes."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import reduction
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any

from ...engines.errors import SinkError
from ...engines.output_paths import take_lock, writing

LOCK = ".nasion-lock"
PATIENCE = 10.0
"""Seconds for which a resumed run waits for the processes of a killed one to end."""
_PART = re.compile(r"\.part-[0-9a-f]{8}(\.|$)")  # as ``exports.whole`` names them
_log = logging.getLogger(__name__)


class FolderLock:
    """Lock that is held. A process to which it is sent when it is started holds it, too, until it ends."""

    def __init__(self, file: IO[str] | int) -> None:
        """Keep the open file, which has the lock."""
        self._file = file

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Hand the open file over to a process that is being started."""
        if os.name != "posix":  # Windows locks a file for one process only
            return FolderLock, (-1,)
        number = self._file if isinstance(self._file, int) else self._file.fileno()
        return _received, (reduction.DupFd(number),)


def _received(file: Any) -> FolderLock:
    return FolderLock(file.detach())


@contextmanager
def alone_in(folder: Path, *, wait: bool = False) -> Iterator[FolderLock]:
    """Lock a folder against other runs; the system releases the lock when all processes that hold it have ended.

    Args:
        folder: folder of the outputs, which is created.
        wait: wait up to ``PATIENCE`` seconds for another run to end.

    Raises:
        SinkError: another run writes there, or the folder cannot be written.
    """
    is_new = not folder.exists()
    path = folder / LOCK
    until = monotonic() + (PATIENCE if wait else 0.0)
    while (file := _locked(path)) is None:
        if monotonic() >= until:
            raise SinkError(
                f"another run writes into {str(folder)!r}; wait until it has ended, stop it, or give another folder"
            )
        sleep(0.1)
    with file:
        try:
            yield FolderLock(file)
        finally:
            with suppress(OSError):  # Windows keeps a file that is open
                path.unlink()
                if is_new:
                    folder.rmdir()  # unless something is in it


def _locked(path: Path) -> IO[str] | None:
    """Return the locked file; None if another process has it, or has just removed it."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    try:
        is_ours = take_lock(file)
    except OSError as error:  # some network file systems have no locks
        _log.warning("%s cannot be locked (%s): start no second run that writes there", path.parent, error.strerror)
        return file
    with suppress(FileNotFoundError):
        if is_ours and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
    file.close()
    return None


def remove_parts(folders: Iterable[Path]) -> None:
    """Remove the unfinished files that a killed run left in folders, which must be locked.

    Raises:
        SinkError: one cannot be removed.
    """
    for folder in dict.fromkeys(folders):
        with writing(folder):
            for path in folder.iterdir() if folder.is_dir() else ():
                if _PART.match(path.name):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
