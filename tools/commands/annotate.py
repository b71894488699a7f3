"""``nasion annotate``: annotate every frame of files, in the formats of the field."""

from __future__ import annotations

import csv
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, redirect_stdout
from os import fsdecode
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ...engines.errors import MissingExtra, NasionError, SourceError, printable
from ..machine import provenance
from ..options import NONE_GIVEN, AllMeasures, Parts, read_parts
from ..results import Json, json_results

if TYPE_CHECKING:
    from ...realtime.annotate.annotate import PreparedJobs
    from ...realtime.annotate.results import Result


def annotate(
    *paths: str,
    out: Path,
    format: Annotated[Parts, Parameter(converter=read_parts, n_tokens=1, show_default=",".join)] = Parts(("jsonl",)),  # noqa: B008
    list: Path | None = None,
    every: int = 1,
    independent: bool = False,
    overlay: bool = False,
    blur: bool = False,
    pixelate: bool = False,
    box: bool = False,
    no_report: bool = False,
    workers: int = 1,
    resume: bool = False,
    force: bool = False,
    quiet: bool = False,
    json: Json = None,
    max_pixels: int = 175_000_000,
    cluster: str | None = None,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float = 0.0,
    retries: int = 3,
    tracking: AllMeasures = NONE_GIVEN,
) -> None:
    """Annotate every frame of videos and images, and print a table of the results.

    A run that was stopped or killed goes on with --resume, and gives the same files to the byte.

    Args:
        paths: videos, images, folders and globs. A folder is searched with the folders in it: each video is an input,
            and so are the images of each folder together.
        out: folder of the outputs: NAME.journal, and a file for each format.
        format: formats, separated by commas: jsonl, csv, parquet, coco, cvat, pts (a folder of files) and vtt
            (not for independent images). All measures are written.
        list: file with further paths, one a line, or the column path of a .csv or .parquet file; - for standard input
            (default: none).
        every: annotate each frame whose number is a multiple of this.
        independent: images are no sequence: each is annotated on its own.
        overlay: also write a video, or images, with the faces drawn in.
        blur: also write a video, or images, with every face blurred.
        pixelate: the same with large pixels.
        box: the same with black boxes.
        no_report: write no NAME.html, a report with plots and thumbnails.
        workers: processes, each of which does one input at a time; they change no result.
        resume: continue what an earlier run with the same inputs and options has begun.
        force: replace what an earlier run has written.
        quiet: print warnings and errors only.
        json: also write the results, with networks, machine and versions, to this file; - for standard output
            (default: none).
        max_pixels: largest image file to decode, in width times height; a small file may claim a huge image.
        cluster: address of a Ray cluster that does the work: auto, HOST:6379 or ray://HOST:10001; or local for one of
            this machine (default: none).
        cpus_per_worker: cores of each worker of the cluster.
        gpus_per_worker: GPUs of each worker of the cluster, such as 0.25.
        retries: number of times that a task of the cluster is repeated whose worker has ended.
    """
    import cv2

    from ...realtime.annotate.annotate import prepared
    from ...realtime.annotate.workers.cluster import ClusterOptions

    ways = [way for way, wanted in (("blur", blur), ("pixelate", pixelate), ("box", box)) if wanted]
    if len(ways) > 1:
        raise NasionError(f"--{' and --'.join(ways)} exclude each other; give one of them")
    named = [*paths, *_listed(list)]
    if not named:
        raise NasionError("there is nothing to annotate; give videos, images, folders or globs, or --list FILE")
    silent = quiet or str(json) == "-"
    with json_results(json, force=force or resume, inputs=named, silent=silent) as to_json:
        progress = _Job(silent=silent)
        with (
            progress,
            prepared(
                named,
                out,
                formats=format,
                every=every,
                independent=independent,
                overlay=overlay,
                obscure=ways[0] if ways else None,
                report=not no_report,
                workers=workers,
                resume=resume,
                force=force,
                max_pixels=max_pixels,
                cluster=None if cluster is None else ClusterOptions(cluster, cpus_per_worker, gpus_per_worker, retries),
                progress=progress,
                **tracking,
            ) as ready,
        ):
            cv2.setNumThreads(ready.tracker.options.threads or 1)  # OpenCV's default is all cores
            with redirect_stdout(sys.stderr) if cluster else nullcontext():  # Ray prints what its workers report
                results = _done(ready, progress)
        print_results(results)
        for result in results:
            if result.attention:
                print(printable(_to_check(result)))
        to_json.write(provenance() | {"inputs": [result.to_dict() for result in results]})
    bad = [result for result in results if not result.complete]
    if bad:
        raise NasionError(_trouble(bad, len(results)))


def _listed(file: Path | None) -> Iterator[str]:
    """Yield the paths in a list: a text file with a path a line, or the column ``path`` of a CSV or Parquet file.

    Raises:
        SourceError: it cannot be read, or has several columns and none of that name.
        MissingExtra: a Parquet file needs pyarrow, which is not installed.
    """
    if file is None:
        return
    if file.suffix.lower() == ".parquet":
        yield from _column_of_parquet(file)
        return
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = data.decode("utf-16") if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else fsdecode(data)
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"--list {str(file)!r} cannot be read ({error}); give a text file with a path a line"
        ) from error
    text = text.removeprefix("\ufeff")
    if file.suffix.lower() == ".csv":
        rows = csv.reader(text.splitlines())
        number = _column(next(rows, []), file)
        lines = (row[number] for row in rows if len(row) > number)
    else:
        lines = (line.strip() for line in text.split("\n"))
    yield from (line for line in lines if line)


def _column_of_parquet(file: Path) -> Iterator[str]:
    try:
        from pyarrow import parquet
        from pyarrow.lib import ArrowException
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", f"--list {str(file)!r}") from error
    try:
        with parquet.ParquetFile(file) as opened:  # type: ignore[no-untyped-call]
            names = opened.schema_arrow.names
            name = names[_column(names, file)]
            for batch in opened.iter_batches(columns=[name]):
                yield from (str(path) for path in batch.column(0).to_pylist() if path)
    except (OSError, ArrowException) as error:
        raise SourceError(f"--list {str(file)!r} cannot be read ({error}); give a Parquet file") from error


def _column(names: Sequence[str], file: Path) -> int:
    """Return the number of the column with the paths: ``path``, or the only one."""
    if "path" in names:
        return names.index("path")
    if len(names) == 1:
        return 0
    raise SourceError(f"--list {str(file)!r} has the columns {', '.join(names)}; name the one with the paths path")


class _Job:
    """Progress of all inputs: frames of the one that reported last, and how many inputs are done."""

    def __init__(self, *, silent: bool) -> None:
        from ..terminal.progress import Progress

        self._progress = Progress(unit="frames", silent=silent)
        self._silent = silent
        self.inputs = self.done = 0

    def __enter__(self) -> _Job:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)

    def __call__(self, name: str, done: int, total: int | None) -> None:
        self._progress(f"{self.done} of {self.inputs} done, {name}", done, total)

    def say(self, text: str) -> None:
        """Print a line above the progress."""
        if not self._silent:
            self._progress.print(text)


def _done(ready: PreparedJobs, progress: _Job) -> list[Result]:
    """Run the prepared jobs and return their results in the order of the inputs."""
    progress.inputs = len(ready.jobs)
    found: dict[str, Result] = {}
    for result in ready.results():
        progress.done += 1
        found[result.name] = result
        if not result.complete:
            progress.say(_reason(result))
    return [found[job.input.name] for job in ready.jobs]


def print_results(results: Sequence[Result]) -> None:
    """Print a row for each input."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("input")
    for name in ("frames", "faces", "identities", "interpolated", "seconds", ""):
        table.add_column(name, justify="right" if name else "left")
    for result in results:
        table.add_row(
            printable(result.name),
            f"{result.frames:,}",
            f"{result.faces:,}",
            f"{result.identities:,}",
            f"{result.interpolated:,}",
            f"{result.seconds:.1f}",
            "done" if result.complete else "partly" if result.frames else "failed",
        )
    Console().print(table)


def _to_check(result: Result) -> str:
    """Return the first spans of frames that a person should check."""
    shown = "; ".join(f"{begin} to {end}, {reason}" for begin, end, reason in result.attention[:5])
    more = f"; and {len(result.attention) - 5} more, see {result.name}.html" if len(result.attention) > 5 else ""
    return f"Check these frames of {result.name}, in which faces were covered by a guess: {shown}{more}"


def _trouble(bad: Sequence[Result], count: int) -> str:
    shown = "\n".join(f"  {_reason(result)}" for result in bad[:20])
    more = f"\n  and {len(bad) - 20} more" if len(bad) > 20 else ""
    others = "; the others are complete" if len(bad) < count else ""
    return f"{len(bad)} of {count} inputs could not be annotated completely{others}:\n{shown}{more}"


def _reason(result: Result) -> str:
    """Return why an input was not annotated completely, after its path."""
    reason = result.error
    if result.problems:
        shown = "; ".join(result.problems[:3]) + ("; …" if result.unread > 3 else "")
        count = f"{result.unread} of its images cannot be read: {shown}"
        reason = f"{reason}; {count}" if reason else count
    return reason if reason.startswith((result.source, repr(result.source))) else f"{result.source}: {reason}"
