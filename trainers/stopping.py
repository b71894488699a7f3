"""Ctrl-C and SIGTERM, taken at a moment when nothing is lost."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """While entered, the first signal is only noted; a second one stops at once.

    In a thread other than the main one, where Python takes no signals, and for signals that the process ignores
    (as under ``nohup``), nothing changes.
    """

    def __init__(self) -> None:
        """Nothing is asked yet."""
        self._signal: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether someone wants the process to stop."""
        return self._signal is not None

    def leave(self) -> NoReturn:
        """Stop as the signal would have.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            SystemExit: with status 143 after SIGTERM.
        """
        if self._signal == signal.SIGTERM:
            sys.exit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    def _note(self, number: int, _: FrameType | None) -> None:
        again, self._signal = self.asked, number
        if again:
            self.leave()

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
