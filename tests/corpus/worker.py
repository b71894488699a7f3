"""Calls in a process of their own, which may abort or hang without harm."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nasion.engines.closing import Closing

_CONTEXT = multiprocessing.get_context("spawn")
_ROOT = str(Path(__file__).parents[2])
if _ROOT not in sys.path:  # where a new process looks for this package
    sys.path.append(_ROOT)


class Failed(Exception):
    """A call that did not return: its process aborted or hung."""


class Worker(Closing):
    """A process that answers calls of one function, and is started again after one that it did not survive."""

    def __init__(self, function: Callable[..., Any], *, seconds: float) -> None:
        """Start the process at the first call.

        Args:
            function: function at the top level of a module.
            seconds: time after which a call counts as hung.
        """
        self._function, self._seconds = function, seconds
        self._process: Any = None
        self._calls: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """Call the function in the process.

        Raises:
            Failed: the process aborted, or the call hung.
        """
        if self._process is None:
            self._calls, other = _CONTEXT.Pipe()
            self._process = _CONTEXT.Process(target=_answer, args=(self._function, other), daemon=True)
            self._process.start()
            other.close()
        self._calls.send(arguments)
        try:
            if self._calls.poll(self._seconds):
                return self._calls.recv()
            failure = f"hung for {self._seconds:g} s"
        except (EOFError, ConnectionResetError):
            self._process.join(self._seconds)
            failure = f"aborted with status {self._process.exitcode}"
        self.close()
        raise Failed(failure)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._calls.close()
            self._process = None


def _answer(function: Callable[..., Any], calls: Connection) -> None:
    while True:
        try:
            arguments = calls.recv()
        except EOFError:
            return
        calls.send(function(*arguments))
