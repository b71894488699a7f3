"""Tasks of a worker of a cluster: plain functions of values that can be sent to any machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import cv2

from ....engines.errors import NasionError, SinkError, SourceError
from ...tracking.options import TrackerOptions
from ...tracking.tracker import Tracker
from ..alone import LOCK
from ..annotating import complete, derive, done_of, info_of
from ..exports.whole import aside
from ..first_pass import chunks, open_frames
from ..job import Job, header_of
from ..journal import End, Journal, JournalHeader, Whole
from ..results import Result
from .assembly import Survey
from .pieces import Piece, Place, SeenPiece, pieces_of, see

_TRACKERS: dict[TrackerOptions, Tracker] = {}


@dataclass(frozen=True, slots=True)
class Task:
    """Values that every task of a job needs.

    Attributes:
        job: the job.
        folder: folder from which its relative paths count.
        chunks: least number of chunks of a piece.
    """

    job: Job
    folder: str
    chunks: int


def begin(task: Task) -> tuple[Result | Survey, Sequence[str]]:
    """Annotate an input that fits into a piece, or return the pieces of a longer one.

    Returns:
        the result, or the survey; and the digests of the images, see ``Content.digests``.

    Raises:
        NasionError: the input cannot be read, or an output cannot be written.
    """
    job, start = task.job, perf_counter()
    _enter(task)
    tracker = _tracker(task.job)
    if job.input.problem:
        raise SourceError(job.input.problem)
    done, content = done_of(job, tracker)
    if done.end is not None:
        return derive(job, done.end, start), ()
    pieces = tuple(pieces_of(job, done, chunks_each=task.chunks))
    if len(pieces) == 1 and not done.bytes:
        end = _whole(job, tracker, content.figures, content.digests)
        return derive(job, end, start), ()
    header = done.header
    if header is None:
        with open_frames(job, Whole()) as opened:
            header = header_of(job, tracker, opened.info, content.figures)
    last = None if done.last is None else Place(done.last.index, done.pixels)
    return Survey(header, pieces, done.bytes, done.frames, last), content.digests


def _whole(job: Job, tracker: Tracker, figures: Mapping[str, object], digests: Sequence[str]) -> End:
    """Write the journal of a short input. It appears when it is complete, so a task that is repeated begins again."""
    with aside(job.journal) as path, open_frames(job, Whole()) as opened, Journal(path) as journal:
        journal.begin(header_of(job, tracker, opened.info, figures))
        return complete(journal, chunks(job, opened, tracker.networks, size=job.chunk, digests=digests))


def track_piece(task: Task, piece: Piece, header: JournalHeader, digests: Sequence[str]) -> tuple[SeenPiece, bytes]:
    """Track a piece with the networks that the header names; see ``see``.

    Raises:
        NasionError: this machine has other networks or libraries, or the input cannot be read.
    """
    _enter(task)
    tracker = _tracker(task.job)
    now = header_of(task.job, tracker, info_of(header), header.content)
    if differences := now.differences(header):
        raise NasionError(
            f"{socket.gethostname()} differs from the machine that began the journal: {'; '.join(differences)}; "
            "install the same versions on all machines"
        )
    return see(task.job, piece, tracker, digests)


def finish(task: Task, end: End) -> Result:
    """Write the outputs of a job whose journal is finished.

    Raises:
        NasionError: the input cannot be read again, or an output cannot be written.
    """
    start = perf_counter()
    _enter(task)
    return derive(task.job, end, start)


def _enter(task: Task) -> None:
    """Go to the folder of the job, and check that the outputs are on storage that this machine shares.

    Raises:
        NasionError: one of them is not there.
    """
    try:
        os.chdir(task.folder)
    except OSError as error:
        raise SourceError(
            f"{task.folder!r} cannot be reached on {socket.gethostname()} ({error.strerror}); start nasion in a folder "
            "that all machines see"
        ) from error
    if not (task.job.out / LOCK).exists():
        raise SinkError(
            f"the folder of the outputs {str(task.job.out)!r} is not there on {socket.gethostname()}; give --out on "
            "storage that all machines share"
        )


def _tracker(job: Job) -> Tracker:
    """Return the tracker of this process, which loads the networks once."""
    cv2.setNumThreads(job.options.threads or 1)
    if job.options not in _TRACKERS:
        _TRACKERS[job.options] = Tracker(job.options)
    return _TRACKERS[job.options]
