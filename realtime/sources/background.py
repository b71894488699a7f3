"""A source read in a thread of its own, so that opening it and waiting for it can be given up."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self

from ...engines.closing import Closing
from ...engines.errors import SourceError
from ..channels import Channel
from ..faces import Frame
from .base import Source, SourceInfo


class BackgroundSource(Closing):
    """A camera or stream behind a thread: ``close`` from any thread ends a read at once.

    The thread alone touches the device. One that is blocked in it when the source is closed ends as soon as
    the device answers or its own timeout has passed.
    """

    def __init__(self, opener: Callable[[], Source], name: str, timeout: float) -> None:
        """Open in the thread; ``name`` is for messages.

        Raises:
            SourceError: it did not open, or not within ``timeout`` seconds.
        """
        self._frames: Channel[Frame] = Channel(1)
        opened: Future[SourceInfo] = Future()
        self._thread = threading.Thread(
            target=_read, args=(opener, opened, self._frames), name="nasion-source", daemon=True
        )
        self._thread.start()
        weakref.finalize(self, self._frames.cancel)  # dropped without close(): let the thread end as well
        try:
            self.info = opened.result(timeout)
        except TimeoutError:
            self._frames.cancel()
            raise SourceError(
                f"{name}: no video from there within {timeout:g} s; check that it is switched on and "
                "reachable from here, or allow it more time with timeout"
            ) from None
        except BaseException:
            self._frames.cancel()
            raise

    def __iter__(self) -> Self:
        """Return itself: each frame comes once."""
        return self

    def __next__(self) -> Frame:
        """Wait for the next frame.

        Raises:
            StopIteration: the source has ended or was closed.
            SourceError: it broke off.
        """
        return next(self._frames)

    def close(self) -> None:
        """Let go of the thread; calling it again does nothing."""
        self._frames.cancel()
        self._thread.join(0.5)  # mostly it ends at once; one blocked in a silent device is not waited for


def _read(opener: Callable[[], Source], opened: Future[SourceInfo], frames: Channel[Frame]) -> None:
    """Move frames from the source into the channel until either ends."""
    try:
        with opener() as source:
            opened.set_result(source.info)
            for frame in source:
                if not frames.put(frame):
                    return
        frames.close()
    except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that waits
        if opened.done():
            frames.close(error)
        else:
            opened.set_exception(error)
