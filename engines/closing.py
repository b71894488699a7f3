"""Base class of objects that hold resources and are context managers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Never, Self

from .errors import NasionError


class Closing(ABC):
    """Base class of objects that are closed with ``close`` or at the end of a ``with`` block."""

    @abstractmethod
    def close(self) -> None:
        """Free all resources. Further calls do nothing."""

    def __getstate__(self) -> Never:
        """Refuse to be pickled or copied.

        Raises:
            NasionError: always; the resources belong to this process.
        """
        raise NasionError(
            f"a {type(self).__name__} cannot be pickled, copied or sent to another process, because it holds open "
            "files, threads or networks; send the path or the options, and open it there"
        )

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the object."""
        self.close()


class AsyncClosing(Closing):
    """Base class of objects that ``async with`` closes, too."""

    async def __aenter__(self) -> Self:
        """Return the object itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the object."""
        self.close()
