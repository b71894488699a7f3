"""Signals that end a run, taken at a moment when nothing is lost."""

from __future__ import annotations

from typing import NoReturn

from ...engines.signals import Held


class Stopping(Held):
    """While entered, a signal is only noted; one that comes more than ``PATIENCE`` seconds later stops at once."""

    def leave(self) -> NoReturn:
        """Stop as the signal would have.

        Raises:
            Stopped: with the signal that came, or Ctrl-C where another process got one.
        """
        raise self.take() or KeyboardInterrupt
