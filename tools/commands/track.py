"""``nasion track``: track faces and write a video, a landmark file or a window."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, TextIO

from cyclopts import Parameter

from ...engines.errors import NasionError, SinkError, printable
from ...engines.signals import Held
from ...realtime.tracking.options import TrackerOptions
from ...realtime.values.source_options import SourceKeywords, SourceOptions
from ..machine import provenance
from ..options import NONE_GIVEN, NOTHING_GIVEN, PARTS, Parts, Reading, Tracking, read_parts
from ..results import Json, Results, json_results

if TYPE_CHECKING:
    from ...realtime.pipeline import Pipeline
    from ...realtime.sinks import Sinks
    from ...realtime.sources import Source
    from ..report import Summary


_UNSAVED = (
    "Nothing is saved: add --out tracked.mp4 for a video with the faces drawn in, --landmarks faces.jsonl for the "
    "landmarks, or --show for a window"
)


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs of a run; the fields are arguments of ``open_sinks``."""

    out: Path | None = None
    landmarks: Path | None = None
    stream: TextIO | None = None
    show: bool = False
    force: bool = False
    parts: tuple[str, ...] = PARTS

    def saved(self) -> Iterator[str]:
        """Yield a line for each file of the run, for users."""
        if self.out is not None:
            yield f"{self.out} shows the result"
        if self.landmarks is not None:
            yield f"{self.landmarks} holds the landmarks"


def track(
    source: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    landmarks: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    json: Json = None,
    show: bool = False,
    force: bool = False,
    quiet: bool = False,
    reconnect: bool = False,
    draw: Annotated[Parts, Parameter(converter=read_parts, n_tokens=1, show_default=",".join)] = Parts(PARTS),  # noqa: B008
    reading: Reading = NOTHING_GIVEN,
    tracking: Tracking = NONE_GIVEN,
) -> None:
    """Track the faces of SOURCE, and print tables of results and times.

    Ctrl-C, or another signal that ends a process, stops the run early and leaves every file readable.

    Args:
        source: a video file, an image, a folder of images, the number of a camera, a URL, - for a video from standard
            input, or pattern: (a synthetic video that needs no file).
        out: annotated video (.mp4, .mov, .mkv) with the sound of the source, or an image if SOURCE is an image; - for
            a Matroska video on standard output and nothing else there (default: none).
        landmarks: file for the landmarks of every frame: .jsonl, .csv or .parquet; - for JSON Lines on standard output
            and nothing else there (default: none).
        json: also write the counts and times, with networks, machine and versions, to this file; - for standard output
            (default: none).
        show: show the result in a window; q closes it.
        force: replace files that exist.
        quiet: print warnings and errors only.
        reconnect: connect again to a camera or stream that is lost (default: end with status 1).
        draw: parts of each face to draw, separated by commas, or none; axes and bars show --measures.
    """
    options = TrackerOptions(**tracking)
    decode = options.where_to_decode(SourceOptions(**reading).decode)
    reading = {**reading, "decode": decode}
    outputs = Outputs(out, landmarks, sys.stdout, show, force, draw)
    places = {"--out": out, "--landmarks": landmarks, "--json": json}
    on_stream = [option for option, path in places.items() if str(path) == "-"]
    if len(on_stream) > 1:
        raise SinkError(f"{' and '.join(on_stream)} are both -; give one of them the name of a file")
    others = {option: path for option, path in places.items() if option not in ("--json", *on_stream)}
    silent = quiet or bool(on_stream)
    with json_results(json, force=force, inputs=[source], others=others, silent=silent) as to_json:
        run(source, outputs, options, reading, to_json, quiet=quiet, reconnect=reconnect)


def run(
    source: str,
    outputs: Outputs,
    options: TrackerOptions,
    reading: SourceKeywords,
    to_json: Results,
    *,
    quiet: bool = False,
    reconnect: bool = False,
) -> None:
    """Track ``source`` into ``outputs``, print the tables and write the report; then raise an error or a signal.

    Everything is checked and opened before the first frame is read.
    """
    import cv2

    from ...realtime.live.reconnecting import ReconnectingSource
    from ...realtime.pipeline import Pipeline, header_of
    from ...realtime.sinks import LateHeader, open_sinks
    from ...realtime.sources import open_source
    from ...realtime.tracking.tracker import Tracker
    from ..report import Summary, close, networks_of, running

    cv2.setNumThreads(options.threads or 1)  # OpenCV's default is all cores
    summary = Summary()
    with ExitStack() as stack:
        opener = partial(open_source, source, **reading)
        opened: Source = ReconnectingSource(opener) if reconnect else opener()
        stack.enter_context(opened)
        # Check the outputs before loading networks, which may take minutes.
        header = LateHeader(opened.info)
        to_json.spare(opened.info.files)
        chosen = {field.name: getattr(outputs, field.name) for field in fields(outputs)}
        sinks = stack.enter_context(open_sinks(info=opened.info, header=header, **chosen))
        tracker = stack.enter_context(Tracker(options))
        header.value = header_of(opened.info, tracker)
        for told in running(tracker):
            print(printable(told), flush=True)
        if not (outputs.out or outputs.landmarks or outputs.show or to_json.wanted):
            print(_UNSAVED, flush=True)
        report = provenance() | {"source": opened.info.name, "networks": networks_of(tracker)}
        pipeline = stack.enter_context(Pipeline(opened, tracker))
        with Held() as signals:  # from the first write to the end of the last
            trouble = _track_all(pipeline, sinks, summary, signals, quiet=quiet)
            late = close(stack)
            stopped = signals.take()  # in any case: what the caller gets is raised below
            trouble = late or trouble or stopped
    try:
        summary.print()
        if summary.frames and (saved := [printable(line) for line in outputs.saved()]):
            print("", *saved, sep="\n")
        to_json.write(report | summary.figures())
    finally:
        if trouble is not None:
            raise trouble


def _track_all(
    pipeline: Pipeline, sinks: Sinks, summary: Summary, signals: Held, *, quiet: bool
) -> BaseException | None:
    """Track to the end, or return the error or signal that ended the run: the results so far are still printed."""
    from ..terminal.progress import Progress

    begin = monotonic()
    try:
        with Progress(pipeline.info.name, pipeline.info.frames, "frames", silent=quiet) as progress:
            while not sinks.stopped:
                with signals.let():
                    tracked = next(pipeline, None)
                if tracked is None:
                    break
                frame, faces = tracked
                with pipeline.timings.measure("write"):
                    sinks.write(frame, faces)
                    summary.add(faces)
                progress.advance()
    except (KeyboardInterrupt, NasionError) as stopped:
        return stopped
    except OSError as error:  # an error of the terminal, which a signal may have closed
        return signals.take() or error
    finally:
        summary.finish(monotonic() - begin, pipeline.dropped, pipeline.timings.summary())
    return None
