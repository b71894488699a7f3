"""Assembly: journal of an input that is put together from pieces, which may arrive in any order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ....engines.closing import Closing
from ....engines.errors import SourceError
from ..job import Job
from ..journal import End, Journal, JournalHeader
from .pieces import Piece, Place, SeenPiece

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Survey:
    """Input that is ready to be tracked in pieces.

    Attributes:
        header: header of its journal.
        pieces: pieces of what the journal does not have yet, in order.
        kept: bytes of the journal to keep; 0 to begin it.
        frames: number of frames in these.
        last: last of these frames; None if there are none.
    """

    header: JournalHeader
    pieces: tuple[Piece, ...]
    kept: int = 0
    frames: int = 0
    last: Place | None = None


class Assembly(Closing):
    """Journal of an input that is put together from pieces.

    A piece fits behind the last if the frame before it is the last frame of that one, by number and by pixels. Where it
    does not, as in a file whose packets tell other numbers than its frames have, the rest of the input is read in one
    piece from its beginning.

    Attributes:
        job: the job.
        frames: number of frames in the journal.
        end: end of the journal; None until it is finished.
        is_repeated: True if a piece did not fit, and the rest was read from the beginning.
    """

    def __init__(self, job: Job, survey: Survey) -> None:
        """Open the journal.

        Raises:
            SinkError: it cannot be written.
        """
        self.job, self.frames, self.is_repeated = job, survey.frames, False
        self.end: End | None = None
        self._planned = deque(survey.pieces)
        self._next = survey.pieces[0].first
        self._last = survey.last
        self._running: set[Piece] = set()
        self._ready: dict[int, tuple[SeenPiece, Callable[[], bytes]]] = {}
        self._journal = Journal(job.journal, keep=survey.kept)
        if not survey.kept:
            self._journal.begin(survey.header)

    @property
    def waiting(self) -> int:
        """Number of pieces that are tracked and wait for one before them."""
        return len(self._ready)

    def next_piece(self) -> Piece | None:
        """Return the next piece to track; None if all are under way."""
        if not self._planned:
            return None
        piece = self._planned.popleft()
        self._running.add(piece)
        return piece

    def add(self, piece: Piece, seen: SeenPiece, lines: Callable[[], bytes]) -> None:
        """Take a piece that was tracked, and append to the journal what is complete up to there.

        Args:
            piece: the piece, from ``next_piece``.
            seen: its description.
            lines: returns its lines of the journal; called when they are appended, or never.

        Raises:
            SourceError: the piece does not fit, although it was read from the beginning.
            SinkError: the journal cannot be written.
        """
        if piece not in self._running:
            return  # it was planned behind a seam that did not fit, or behind the end
        self._running.remove(piece)
        self._ready[piece.first] = seen, lines
        while self.end is None and self._next in self._ready:
            seen, lines = self._ready.pop(self._next)
            if not self._fits(seen):
                self._repeat()
            else:
                self._append(seen, lines())

    def _fits(self, seen: SeenPiece) -> bool:
        # images have names, by which they are found
        return bool(self.job.input.images) or seen.before == self._last

    def _repeat(self) -> None:
        """Plan the rest of the input as one piece, read from the beginning."""
        if self._last is None or self.is_repeated:
            raise SourceError(
                f"{self.job.input.source}: it has other frames each time it is read; annotate it from the beginning "
                "with --force"
            )
        _log.warning(
            "%s: the frames behind number %d do not fit those before; reading it from the beginning",
            self.job.input.source,
            self._last.index,
        )
        self.is_repeated = True
        self._running.clear()
        self._ready.clear()
        self._planned = deque([Piece(self._next, None, self._last.index)])

    def _append(self, seen: SeenPiece, lines: bytes) -> None:
        self._journal.extend(lines)
        self.frames += seen.frames
        self._next += seen.chunks
        self._last = seen.last or self._last
        if seen.is_end:
            self.end = End(self.frames, seen.damage)
            self._journal.finish(self.end)
            self._running.clear()
            self._ready.clear()
            self._planned.clear()

    def close(self) -> None:
        """Close the journal. What was appended stays, and can be resumed."""
        self._journal.close()
