"""Recording of live sources in files that survive a crash, rotated by time and removed at a size limit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .results import LiveResult
from .status import RecordingStatus


@dataclass(frozen=True, slots=True)
class Recording:
    """Where and how to record."""

    folder: Path


class Recorder:
    """Recorder of one source."""

    def __init__(self, recording: Recording, name: str) -> None:
        """Prepare."""
        self._recording, self._name = recording, name

    def put(self, result: LiveResult) -> None:
        """Queue a frame."""

    def status(self) -> RecordingStatus:
        """Return the status."""
        return RecordingStatus()

    def end(self) -> None:
        """End the recording."""

    def join(self, timeout: float) -> None:
        """Wait."""
