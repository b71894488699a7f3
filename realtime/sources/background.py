"""Source read in a background thread, so that opening and reading can time out."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self

from ...engines.closing import Closing
from ...engines.errors import SourceError
from ..faces.frame import Frame
from ..threads.channels import Channel
from .base import Source, SourceInfo

_GRACE = 0.5  # seconds by which a source that times out itself, and says why, may be late


class BackgroundSource(Closing):
    """Camera or stream read in a background thread: ``close`` from any thread ends a read at once.

    Only the background thread accesses the device. If it is blocked there when the source is closed, it ends as soon as
    the device answers or its timeout has passed.
    """

    def __init__(self, opener: Callable[[], Source], name: str, timeout: float) -> None:
        """Open the source in the background thread.

        Args:
            opener: opens the source.
            name: name of the source for messages.
            timeout: seconds to wait for the source to open, and for each frame.

        Raises:
            SourceError: the source cannot be opened, or does not open within ``timeout`` seconds.
        """
        self._name, self._timeout = name, timeout
        self._frames: Channel[Frame] = Channel(1)
        opened: Future[SourceInfo] = Future()
        self._thread = threading.Thread(
            target=_read, args=(opener, opened, self._frames), name="nasion-source", daemon=True
        )
        self._thread.start()
        weakref.finalize(self, self._frames.cancel)  # also end the thread if the source is dropped without close()
        try:
            self.info: SourceInfo = opened.result(timeout)
        except TimeoutError:
            self._frames.cancel()
            raise SourceError(
                f"{name}: no video received within {timeout:g} s; check that it is switched on and "
                "reachable from here, or allow it more time with timeout"
            ) from None
        except BaseException:
            self._frames.cancel()
            raise

    def __iter__(self) -> Self:
        """Return the source itself; each frame is returned once."""
        return self

    def __next__(self) -> Frame:
        """Wait for the next frame.

        Raises:
            StopIteration: the source has ended or was closed.
            SourceError: reading failed, or no frame comes within the timeout.
        """
        try:
            return self._frames.get(min(self._timeout + _GRACE, threading.TIMEOUT_MAX))
        except TimeoutError:
            self._frames.cancel()
            raise SourceError(
                f"{self._name}: no frame received for {self._timeout:g} s; check its power and its connection, or "
                "allow it more time with timeout; what was written of the frames before is kept"
            ) from None

    def close(self) -> None:
        """Stop the background thread. Calling it again does nothing."""
        self._frames.cancel()
        self._thread.join(0.5)  # usually ends at once; do not wait for a thread blocked in a silent device


def _read(opener: Callable[[], Source], opened: Future[SourceInfo], frames: Channel[Frame]) -> None:
    """Move frames from the source to the channel until either ends."""
    try:
        with opener() as source:
            opened.set_result(source.info)
            for frame in source:
                if not frames.put(frame):
                    return
        frames.close()
    except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
        if opened.done():
            frames.close(error)
        else:
            opened.set_exception(error)
