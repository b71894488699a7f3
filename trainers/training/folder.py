"""Folder of a training run: one process trains in it at a time, and no older result is replaced."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...engines.output_paths import take_lock, writing
from ..checkpoint import TrainingError

LOCK = "run.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run's folder against other processes; the system releases the lock when the process ends.

    Raises:
        TrainingError: another process trains in the folder.
        SinkError: the folder cannot be written.
    """
    path = folder / LOCK
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        if not take_lock(file):
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise TrainingError(
                f"{folder}: {holder} trains in this folder; wait for its end, stop it, or give another --out"
            )
        with writing(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
