"""Base class of objects that hold resources and are context managers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """Base class of objects that are closed with ``close`` or at the end of a ``with`` block."""

    @abstractmethod
    def close(self) -> None:
        """Free all resources. Further calls do nothing."""

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the object."""
        self.close()
