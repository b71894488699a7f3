"""WebVTT (W3C): cues for players that tell which faces are in sight."""

from __future__ import annotations

from pathlib import Path

from ....engines.output_paths import writing
from ..look_ahead.annotation import Annotated
from .base import Annotations, Export

_STEP = 0.04  # seconds for which the last frame is shown if the frame rate is unknown


class VttExport(Export):
    """WebVTT file: one cue for each run of frames with the same faces."""

    def __init__(self, path: Path, annotations: Annotations) -> None:
        """Begin the file."""
        self._path = path
        self._shown: tuple[int, ...] = ()
        self._since = self._last = 0.0
        self._step = _STEP
        self._cues = 0
        with writing(path):
            self._file = path.open("w", encoding="utf-8")
            self._file.write("WEBVTT\n")

    def write(self, annotated: Annotated) -> None:
        """End the cue if other faces are in sight."""
        time = annotated.frame.time
        shown = tuple(face.id for face in annotated.faces)
        if time > self._last:
            self._step = time - self._last
        if shown != self._shown:
            self._cue(time)
            self._shown, self._since = shown, time
        self._last = time

    def finish(self) -> None:
        """Write the last cue."""
        self._cue(self._last + self._step)
        with writing(self._path):
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with writing(self._path):
            self._file.close()

    def _cue(self, end: float) -> None:
        if not self._shown or end <= self._since:
            return
        self._cues += 1
        names = ", ".join(f"face {number}" for number in self._shown)
        with writing(self._path):
            self._file.write(f"\n{self._cues}\n{timestamp(self._since)} --> {timestamp(end)}\n{names}\n")


def timestamp(seconds: float) -> str:
    """Return a time as ``HH:MM:SS.mmm``."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
