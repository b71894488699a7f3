"""Source that is opened again when it is lost, for ``nasion track --reconnect``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Self

from ...engines.closing import Closing
from ...engines.errors import SourceError
from ..faces.frame import Frame
from ..sources import Source, SourceInfo
from .connection import STEADY, BackOff
from .pacing import timed

_log = logging.getLogger(__name__)


class ReconnectingSource(Closing):
    """Live source that outlasts lost connections. Its times go on, with the gaps, and so do its numbers."""

    def __init__(self, opener: Callable[[], Source], back_off: BackOff | None = None) -> None:
        """Open the source.

        Args:
            opener: opens the source.
            back_off: delays between attempts.

        Raises:
            SourceError: it cannot be opened, or is not live.
        """
        self._opener, self._source = opener, opener()
        self.info: SourceInfo = self._source.info
        if not self.info.live:
            self._source.close()
            raise SourceError(f"{self.info.name} is not live, so there is no connection to restore; leave it out")
        self._back_off = back_off or BackOff()
        self._closing = threading.Event()
        self._began = monotonic()
        self._time, self._index = 0.0, 0  # added to those of the frames of this connection
        self._next_index = 0
        self._opened = self._began

    def __iter__(self) -> Self:
        """Return the source itself; each frame is returned once."""
        return self

    def __next__(self) -> Frame:
        """Read the next frame; if the connection is lost, wait until it is restored.

        Raises:
            StopIteration: the source has ended or was closed.
        """
        while not self._closing.is_set():
            try:
                frame = next(self._source)
            except SourceError as error:
                self._restore(error)
                continue
            if monotonic() - self._opened >= STEADY:
                self._back_off.reset()
            frame = timed(frame, self._time + frame.time, self._index + frame.index)
            self._next_index = frame.index + 1
            return frame
        raise StopIteration

    def close(self) -> None:
        """Stop reading, or waiting for the source. Calling it again does nothing."""
        self._closing.set()
        self._source.close()

    def _restore(self, error: SourceError) -> None:
        """Open the source again, however often that takes."""
        if self._closing.is_set():
            return
        _log.warning("%s; trying again until it answers", error)
        self._source.close()
        while not self._closing.wait(self._back_off.delay()):
            try:
                self._source = self._opener()
            except SourceError as failed:
                _log.info("%s", failed)
                continue
            if self._closing.is_set():
                self._source.close()
                return
            self._opened = monotonic()
            self._time, self._index = self._opened - self._began, self._next_index
            _log.warning("%s: connected again", self.info.name)
            return
