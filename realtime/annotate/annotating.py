"""Annotation of one input: the first pass into the journal, then everything that derives from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from ...engines.errors import SinkError, SourceError
from ...engines.output_paths import check_output_paths, reaching
from ..sources.base import SourceInfo
from ..tracking.tracker import Tracker
from .exports import FORMATS, export
from .first_pass import chunks, open_frames
from .inputs import Content
from .job import Job, header_of
from .journal import Chunk, End, Journal, JournalHeader, Whole, whole_part
from .look_ahead.annotation import Annotated, Annotation
from .rendering.obscuring import attention
from .rendering.render import OBSCURED, OVERLAY, render, rendered_paths
from .report.collecting import Collector
from .report.page import write_report
from .results import Counts, Result

REPORT = "report"
T = TypeVar("T")
Tell = Callable[[str, int, int | None], None]
"""Receiver of the progress: name of the input, frames done and their estimated total."""


def annotate_input(job: Job, tracker: Tracker, tell: Tell) -> Result:
    """Annotate the input of a job: see what its journal does not have yet, then write its outputs.

    Args:
        job: the job.
        tracker: tracker with the networks of the job.
        tell: called after each frame.

    Raises:
        SourceError: the input cannot be read, or has changed since the run that is resumed.
        SinkError: an output cannot be written, or exists already.
    """
    if job.input.problem:
        raise SourceError(job.input.problem)
    begin = perf_counter()
    check_outputs(job)
    return derive(job, look(job, tracker, tell), begin)


def derive(job: Job, end: End, begin: float) -> Result:
    """Write the outputs of a job whose journal is finished, and return its result.

    Args:
        job: the job.
        end: end of the journal.
        begin: ``perf_counter()`` at the beginning of the work.

    Raises:
        SourceError: the input cannot be read again, or has changed since.
        SinkError: an output cannot be written.
    """
    annotation = Annotation(job.journal)
    missing = _missing(job)
    counts, collected = Counts(), Collector(end.frames)
    also: list[Callable[[Annotated], None]] = [counts, collected] if REPORT in missing else [counts]
    export(annotation, {name: path for name, path in missing.items() if name in FORMATS}, also=also)
    rendered = {name: path for name, path in missing.items() if name in (OVERLAY, OBSCURED)}
    if rendered:
        render(job, annotation, rendered)
    spans = attention(annotation) if job.obscure else ()
    identities = len(counts.ids) if job.kind != "images" else counts.faces
    if REPORT in missing:
        tiles = {"frames": counts.frames, "faces": counts.faces, "identities": identities}
        tiles["interpolated"] = counts.interpolated
        write_report(missing[REPORT], job, annotation, collected, tiles, spans)
    return Result(
        name=job.input.name,
        source=job.input.source,
        frames=counts.frames,
        faces=counts.faces,
        identities=identities,
        interpolated=counts.interpolated,
        shots=annotation.shots,
        problems=tuple(annotation.unread.values()),
        seconds=perf_counter() - begin,
        files=(job.journal, *outputs_of(job).values()),
        error=end.damage,
        attention=spans,
    )


def outputs_of(job: Job) -> Mapping[str, Path]:
    """Return the outputs of a job by format or kind."""
    outputs = {name: job.path(FORMATS[name].suffix) for name in job.formats} | rendered_paths(job)
    return outputs | ({REPORT: job.path(".html")} if job.report else {})


def _missing(job: Job) -> Mapping[str, Path]:
    """Return the outputs to write: with ``resume`` those that are missing, or older than the journal."""
    outputs = outputs_of(job)
    if not job.resume:
        return outputs
    age = job.journal.stat().st_mtime_ns
    return {name: path for name, path in outputs.items() if not path.exists() or path.stat().st_mtime_ns < age}


def look(job: Job, tracker: Tracker, tell: Tell) -> End:
    """Add to the journal of a job what the first pass has not seen yet, and return the end of the journal.

    Raises:
        SourceError: the input cannot be read, or has changed.
        SinkError: the journal exists and may neither be continued nor replaced, or cannot be written.
    """
    done, content = done_of(job, tracker)
    if done.end is not None:
        return done.end
    with open_frames(job, done) as opened, Journal(job.journal, keep=done.bytes) as journal:
        header = done.header or header_of(job, tracker, opened.info, content.figures)
        if done.header is None:
            journal.begin(header)
        counted = opened.with_frames(_told(opened.frames, job, opened.info.frames, done.frames, tell))
        seen = chunks(job, counted, tracker.networks, size=header.chunk, first=done.chunks, digests=content.digests)
        return complete(journal, seen, done.frames)


def complete(journal: Journal, seen: Iterable[Chunk], frames: int = 0) -> End:
    """Add chunks to a journal up to the end of the source, or to an error of reading, and write the end.

    Args:
        journal: the journal, which has its header.
        seen: chunks.
        frames: number of frames that it has already.

    Raises:
        SinkError: the journal cannot be written.
    """
    damage = ""
    try:
        for chunk in seen:
            journal.add(chunk)
            frames += len(chunk.frames)
    except SourceError as error:
        damage = str(error)
    end = End(frames, damage)
    journal.finish(end)
    return end


def done_of(job: Job, tracker: Tracker) -> tuple[Whole, Content]:
    """Return what the journal of a job has already, and the content of the input.

    Raises:
        SourceError: the input cannot be read, or has changed since the run that is resumed.
    """
    done = whole_part(job.journal) if job.resume else Whole()
    content = job.input.content()
    if done.header is not None:
        _check_unchanged(job, header_of(job, tracker, info_of(done.header), content.figures), done.header)
    return done, content


def _told(frames: Iterator[T], job: Job, total: int | None, done: int, tell: Tell) -> Iterator[T]:
    expected = None if total is None else -(-total // job.every)
    for done, frame in enumerate(frames, start=done + 1):  # noqa: B020
        yield frame
        tell(job.input.name, done, expected)


def check_outputs(job: Job) -> None:
    """Check that the outputs of a job may be written.

    Raises:
        SinkError: one exists and may neither be continued nor replaced, or is what the job reads.
    """
    outputs = {"journal": job.journal, **outputs_of(job)}
    if len(job.input.files) == 1:  # of a set of images, no output has the suffix
        files = {name: path for name, path in outputs.items() if not path.is_dir()}  # .pts files have a folder
        check_output_paths(files, force=True, inputs=job.input.files)
    with reaching(job.out, SinkError):
        existing = [path for path in outputs.values() if path.exists()]
    if not existing or job.force or (job.resume and job.journal.exists()):
        return
    remedy = "continue with --resume, or replace it with --force" if job.journal.exists() else "replace it with --force"
    raise SinkError(f"{str(existing[0])!r} already exists; {remedy}, or give another folder")


def _check_unchanged(job: Job, now: JournalHeader, before: JournalHeader) -> None:
    """Check that a journal can be continued.

    Raises:
        SourceError: the input, an option, a network or a library is another one.
    """
    if differences := now.differences(before):
        raise SourceError(
            f"{str(job.journal)!r} cannot be continued: {'; '.join(differences)}; give what was given then, or begin "
            "again with --force"
        )


def info_of(header: JournalHeader) -> SourceInfo:
    """Return the description of the source of a journal."""
    rate = None if header.rate is None else Fraction(header.rate)
    return SourceInfo(header.source, header.width, header.height, rate, header.frames)
