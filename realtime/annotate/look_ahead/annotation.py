"""Look-ahead: from the journal of an input to the faces of every frame, with what lies before and behind in sight.

Identities are joined over the whole input, gaps are filled where both sides agree, and landmarks are smoothed without
lag. Three chunks at a time are in memory, however long the input is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....engines.errors import NasionError
from ...faces.face import Face
from ...measures.measurer import Measurer
from ...measures.names import MEASURES, Measure
from ...sinks.header import Header
from ...tracking.score import CERTAIN
from ...values.geometry import box_of
from ...values.landmarks import Landmarks
from ...values.scheme import LandmarkScheme
from ...values.schemes import SCHEMES
from ..journal import Chunk, JournalFace, JournalFrame, JournalHeader, read_chunks, read_header
from .identities import Key, Shots, identities, scan
from .window import Window


@dataclass(frozen=True, slots=True)
class Annotated:
    """Frame with its final faces.

    Attributes:
        frame: the frame as the first pass saw it, with its number, time, file name and size.
        faces: faces in the order of their IDs; ``Face.interpolated`` marks those that fill a gap.
        shot: number of its shot, from 0.
    """

    frame: JournalFrame
    faces: list[Face]
    shot: int = 0


class Annotation:
    """Final faces of an input, derived from its journal. Iterate over it as often as needed.

    Attributes:
        path: the journal.
        journal: header of the journal.
        header: header of landmark files.
        unread: for each image that could not be read, by its number, the reason; known once it was passed.
    """

    def __init__(self, path: Path) -> None:
        """Read the tracks of a journal and join them.

        Raises:
            SourceError: the file is not a journal, or is damaged.
        """
        self.path: Path = path
        self.journal: JournalHeader = read_header(path)
        self._scheme = SCHEMES.get(self.journal.scheme)
        measures = possible_measures(self._scheme)
        self._measurer = Measurer(measures, self._scheme, focal_length=self.journal.options.get("focal_length"))
        self.header: Header = header_of(self.journal, measures)
        self.unread: dict[int, str] = {}
        self._shots = Shots()
        self._identity: Mapping[Key, int] = {}
        if not self._is_independent:
            found, self._shots = scan(read_chunks(path))
            options = self.journal.options
            least = CERTAIN if options.get("min_score") is None else 0.0
            self._identity = identities(found, self._shots, keep=options["keep"], least=least)

    @property
    def shots(self) -> int:
        """Number of shots."""
        return len(self._shots.changes) + 1

    def __iter__(self) -> Iterator[Annotated]:
        """Yield every frame of the journal in order; frames that could not be read are left out."""
        chunks = read_chunks(self.path)
        windows = ((None, chunk, None) for chunk in chunks) if self._is_independent else _windows(chunks)
        for before, chunk, after in windows:
            yield from self._annotated(before, chunk, after)

    @property
    def _is_independent(self) -> bool:
        return self.journal.kind == "images"

    def _annotated(self, before: Chunk | None, chunk: Chunk, after: Chunk | None) -> Iterator[Annotated]:
        shots = [self._shots.number(frame.index) for frame in chunk.frames]
        if self._is_independent:
            found = [{face.track: face for face in frame.faces} for frame in chunk.frames]
            filled: list[set[int]] = [set() for _ in found]
        else:
            window = Window([each for each in (before, chunk, after) if each], self._identity, self._shots)
            window.fill()
            window.smooth(chunk.number, self.journal.options["smooth"])
            found, filled = window.of(chunk.number)
        for frame, shot, faces, gaps in zip(chunk.frames, shots, found, filled, strict=True):
            if frame.damage:
                self.unread[frame.index] = frame.damage
                continue
            made = [self._face(number, faces[number], number in gaps) for number in sorted(faces)]
            yield Annotated(frame, self._measurer.measure(made, frame.size), shot)

    def _face(self, number: int, seen: JournalFace, interpolated: bool) -> Face:
        return Face(
            number,
            box_of(seen.points),
            seen.score,
            Landmarks(seen.points, self._scheme),
            seen.confidence,
            seen.visibility,
            scheme=self.journal.scheme,
            interpolated=interpolated,
        )


def possible_measures(scheme: LandmarkScheme | None) -> tuple[Measure, ...]:
    """Return the measures that a landmark scheme allows."""
    possible = []
    for measure in MEASURES:
        try:
            Measurer((measure,), scheme)
        except NasionError:
            continue
        possible.append(measure)
    return tuple(possible)


def header_of(journal: JournalHeader, measures: Sequence[str]) -> Header:
    """Return the header of landmark files of a journal."""
    return Header(
        source=journal.source,
        width=journal.width,
        height=journal.height,
        rate=journal.rate,
        scheme=journal.scheme,
        landmarks=journal.landmarks,
        models={role: model["name"] for role, model in journal.models.items()},
        versions=journal.versions,
        visibility=journal.visibility,
        measures=tuple(measures),
        focal_length=journal.options.get("focal_length"),
        interpolated=journal.kind != "images",
        files=journal.kind != "video",
    )


def _windows(chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk | None, Chunk, Chunk | None]]:
    """Yield each chunk with the one before and the one after it."""
    before: Chunk | None = None
    now: Chunk | None = None
    for after in chunks:
        if now is not None:
            yield before, now, after
        before, now = now, after
    if now is not None:
        yield before, now, None
