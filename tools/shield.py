"""Ctrl-C that waits for the end of a write."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self


class Shield:
    """Holds Ctrl-C back while it is up, so that all outputs get the same frames and stay readable.

    A second Ctrl-C meanwhile is not held back. For the main thread, in which Python handles signals.
    """

    def __init__(self) -> None:
        """Leave Ctrl-C alone until entered."""
        self._is_up = False
        self._held = 0
        self._before: Any = None

    def __enter__(self) -> Self:
        """Take over Ctrl-C."""
        self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def up(self) -> Iterator[None]:
        """Hold Ctrl-C back during the ``with`` statement, and raise it at its end.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed meanwhile.
        """
        self._is_up, self._held = True, 0
        try:
            yield
        finally:
            self._is_up = False
        if self._held:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._held += 1
        if not self._is_up or self._held > 1:
            raise KeyboardInterrupt
