"""Results of an annotation: counts and outputs of each input."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .look_ahead.annotation import Annotated


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one input.

    Attributes:
        name: name of its outputs.
        source: path of the input.
        frames: number of annotated frames.
        faces: number of faces, over all frames.
        identities: number of different faces; for independent images the number of faces.
        interpolated: number of faces that fill a gap.
        shots: number of shots.
        problems: for each image that could not be read, its path and the reason.
        seconds: seconds that it took, in this run.
        files: outputs.
        error: reason why it failed, or why the source ended early; empty if all of it was annotated.
        attention: spans of frames to check, if faces were obscured: first and last frame, and the
            reason.
    """

    name: str
    source: str
    frames: int = 0
    faces: int = 0
    identities: int = 0
    interpolated: int = 0
    shots: int = 0
    problems: tuple[str, ...] = ()
    seconds: float = 0.0
    files: tuple[Path, ...] = ()
    error: str = ""
    attention: tuple[tuple[int, int, str], ...] = ()

    @property
    def unread(self) -> int:
        """Number of images that could not be read."""
        return len(self.problems)

    @property
    def complete(self) -> bool:
        """True if every frame and image was annotated."""
        return not self.error and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return asdict(self) | {"files": [str(path) for path in self.files], "unread": self.unread}


@dataclass(slots=True)
class Counts:
    """Counts of annotated frames."""

    frames: int = 0
    faces: int = 0
    interpolated: int = 0
    ids: set[int] = field(default_factory=set)

    def __call__(self, annotated: Annotated) -> None:
        """Count a frame."""
        self.frames += 1
        self.faces += len(annotated.faces)
        self.interpolated += sum(face.interpolated for face in annotated.faces)
        self.ids.update(face.id for face in annotated.faces)
