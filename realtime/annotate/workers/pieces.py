"""Pieces of an input: runs of chunks that any process can track on its own.

A chunk depends on its own frames and on the frame before them. So pieces that are put together in order give the same
journal as one process that reads the input from beginning to end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter

from ....engines.errors import SourceError
from ...sources.packets.key_frames import KeyFrames, find_key_frames
from ...tracking.tracker import Tracker
from ..first_pass import chunks, open_after
from ..inputs import PATTERN
from ..job import Job
from ..journal import Whole, checksum

PIECE = 4
"""Chunks of a piece."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Run of chunks of an input.

    Attributes:
        first: number of its first chunk.
        count: number of chunks; None for all that follow.
        after: number of the frame before its first frame; None at the beginning of the input.
        time: time in seconds from which a video is read, that of a key frame before; None for its beginning.
    """

    first: int
    count: int | None = None
    after: int | None = None
    time: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Frame of an input.

    Attributes:
        index: its number.
        pixels: checksum of its pixels.
    """

    index: int
    pixels: int


@dataclass(frozen=True, slots=True)
class SeenPiece:
    """Description of a piece that was tracked.

    Attributes:
        chunks: number of its chunks.
        frames: number of their frames.
        before: frame before them; None if the input has none there.
        last: last of the frames; None if there are none.
        is_end: True if the input ends with the piece.
        damage: reason why reading failed behind its last frame; empty if it did not.
        seconds: seconds that it took.
        run_up: of these, seconds until its first frame could be read.
    """

    chunks: int
    frames: int
    before: Place | None
    last: Place | None
    is_end: bool
    damage: str
    seconds: float
    run_up: float


def pieces_of(job: Job, done: Whole, *, chunks_each: int = PIECE) -> Iterator[Piece]:
    """Yield the pieces of what a journal does not have yet. The last is open-ended.

    A video is split at chunks that have a key frame before them within the length of a piece, because a piece is
    decoded from there; with fewer key frames, pieces are longer. Images can be split anywhere.

    Args:
        job: the job.
        done: part of its journal that is whole.
        chunks_each: least number of chunks of a piece.

    Raises:
        SourceError: a video cannot be read.
    """
    keys = _key_frames(job)
    first, after = done.chunks, None if done.last is None else done.last.index
    time = None if done.last is None else _before(keys, done.last.index)
    total = -(-keys.count // job.every)  # chosen frames
    for chunk in range(first + chunks_each, total // job.chunk + 1, chunks_each):
        last = (chunk * job.chunk - 1) * job.every  # number of the frame before that chunk
        # a last piece shorter than half of one would mostly be opened and sought
        if total - chunk * job.chunk < chunks_each * job.chunk // 2:
            break
        if last - keys.before(last)[0] > chunks_each * job.chunk * job.every:
            continue
        yield Piece(first, chunk - first, after, time)
        first, after, time = chunk, last, _before(keys, last)
    yield Piece(first, None, after, time)


def _key_frames(job: Job) -> KeyFrames:
    if job.input.images:
        return KeyFrames(len(job.input.images), tuple(range(len(job.input.images))), (0.0,) * len(job.input.images))
    if job.input.source.startswith(PATTERN):
        return KeyFrames(0, (), ())
    source = job.input.source
    return find_key_frames(job.input.url or os.path.abspath(source), source)


def _before(keys: KeyFrames, number: int) -> float | None:
    """Return the time from which a frame is read; None for the beginning."""
    key, time = keys.before(number)
    return time if key else None


def see(job: Job, piece: Piece, tracker: Tracker, digests: Sequence[str] = ()) -> tuple[SeenPiece, bytes]:
    """Track a piece, and return its description and its lines of the journal.

    Args:
        job: the job.
        piece: the piece.
        tracker: tracker with the networks of the job.
        digests: digests of the images; see ``Content.digests``.

    Raises:
        SourceError: the input cannot be read.
    """
    begin = perf_counter()
    lines, frames, last, damage = bytearray(), 0, None, ""
    with open_after(job, piece.after, piece.time) as opened:
        run_up = perf_counter() - begin
        before = None if opened.before is None else Place(opened.before.index, checksum(opened.before))
        count = 0
        try:
            made = chunks(job, opened, tracker.networks, size=job.chunk, first=piece.first, digests=digests)
            for chunk in islice(made, piece.count):
                lines += chunk.to_bytes()
                count, frames = count + 1, frames + len(chunk.frames)
                last = Place(chunk.frames[-1].index, chunk.pixels)
        except SourceError as error:
            damage = str(error)
    is_end = bool(damage) or piece.count is None or count < piece.count
    seconds = perf_counter() - begin
    return SeenPiece(count, frames, before, last, is_end, damage, seconds, run_up), bytes(lines)
