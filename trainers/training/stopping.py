"""Handling of signals that end a run: noted first, acted on once the state is saved."""

from __future__ import annotations

from typing import NoReturn

from ...engines.signals import Held


class Stopping(Held):
    """Context in which a signal is only noted; one more than ``PATIENCE`` seconds later stops the run at once."""

    def leave(self) -> NoReturn:
        """Stop the way the signal would have.

        Raises:
            Stopped: for the signal received.
            KeyboardInterrupt: another process received the signal.
        """
        raise self.take() or KeyboardInterrupt
