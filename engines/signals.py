"""The signals that ask a process to end: held back while files are written, then delivered as one exception."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

TYPE_CHECKING = False  # as type checkers know it: the command takes the signals before it imports anything else
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any, Self

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGVTALRM")
SIGNALS: tuple[signal.Signals, ...] = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""All signals of this system that end a process, can be caught and report no crash."""

PATIENCE = 10.0
"""Seconds after the first signal from which on another one is no longer held back."""


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        """Keep the number of the signal."""
        super().__init__(number)
        self.number = number

    @property
    def status(self) -> int:
        """The usual exit status: 128 and the number of the signal."""
        return 128 + self.number

    def __str__(self) -> str:
        """Name the signal as people know it."""
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name


class Held:
    """Holds the signals back while entered; one that came is delivered to the handler before at the end.

    ``let`` marks the places where a signal may be raised meanwhile. It is raised once: what is done to close the
    files is not interrupted by a second one, unless it comes more than ``PATIENCE`` seconds after the first.

    Nothing changes outside the main thread, where Python delivers no signals, and for signals that the process
    ignores, as under ``nohup``.
    """

    def __init__(self) -> None:
        """Hold nothing until entered."""
        self._before: dict[int, Any] = {}
        self._number: int | None = None
        self._since = 0.0
        self._is_open = self._is_raised = False

    def __enter__(self) -> Self:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            try:
                for number in SIGNALS:
                    if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None):
                        self._before[number] = handler
                        signal.signal(number, self._handle)
            except BaseException:  # a signal came meanwhile
                self._give_back()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back, and deliver one that waits."""
        self._give_back()
        if self._number is not None and not self._is_raised:
            self._is_raised = True
            signal.raise_signal(self._number)

    @property
    def asked(self) -> bool:
        """True once a signal came."""
        return self._number is not None

    def take(self) -> Stopped | None:
        """Return the signal that came, to be raised by the caller; it is not delivered again."""
        if self._number is None:
            return None
        self._is_raised = True
        return Stopped(self._number)

    @contextmanager
    def let(self) -> Iterator[None]:
        """Let a signal through during the ``with`` statement, and at its beginning one that came before.

        Raises:
            Stopped: there is one.
        """
        self._is_open = True
        try:
            if self._number is not None and not self._is_raised:
                self._is_open, self._is_raised = False, True
                raise Stopped(self._number)
            yield
        finally:
            self._is_open = False

    def _give_back(self) -> None:
        try:
            while self._before:
                number, handler = next(iter(self._before.items()))
                signal.signal(number, handler)
                del self._before[number]
        finally:
            if self._before:  # the handler before has raised
                self._give_back()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._number is None:
            self._number, self._since = number, monotonic()
        elif monotonic() - self._since > PATIENCE:
            self._is_open = True
        if self._is_open:
            self._is_open, self._is_raised, self._since = False, True, monotonic()
            raise Stopped(self._number)


def ignore() -> None:
    """Ignore the signals from now on: the process is about to end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
