"""``nasion track``: track faces and write a video, a landmark file or a window."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ... import __version__
from ...engines.errors import NasionError, printable
from ...engines.signals import Held
from ...realtime.tracking.options import TrackerOptions
from ..machine import provenance
from ..options import NONE_GIVEN, PARTS, Parts, Size, Time, Tracking, read_parts, read_size, read_time
from ..results import Json, Results, json_results

if TYPE_CHECKING:
    from ...realtime.pipeline import Pipeline
    from ...realtime.sinks import Header, Sinks
    from ...realtime.sources import SourceInfo
    from ...realtime.tracking.tracker import Tracker
    from ..report import Summary


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs of a run; the fields are arguments of ``open_sinks``."""

    out: Path | None = None
    landmarks: Path | None = None
    show: bool = False
    force: bool = False
    parts: tuple[str, ...] = PARTS


def track(
    source: str,
    /,
    *,
    out: Path | None = None,
    landmarks: Path | None = None,
    json: Json = None,
    show: bool = False,
    force: bool = False,
    draw: Annotated[Parts, Parameter(converter=read_parts, n_tokens=1, show_default=",".join)] = Parts(PARTS),  # noqa: B008
    start: Annotated[Time | None, Parameter(converter=read_time)] = None,
    end: Annotated[Time | None, Parameter(converter=read_time)] = None,
    size: Annotated[Size | None, Parameter(converter=read_size, n_tokens=1)] = None,
    fps: float | None = None,
    timeout: float = 10.0,
    decode: str = "auto",
    tracking: Tracking = NONE_GIVEN,
) -> None:
    """Track the faces of SOURCE, and print tables of results and times.

    Ctrl-C, or another signal that ends a process, stops the run early and leaves every file readable.

    Args:
        source: a video file, an image, a folder of images, the number of a camera, a URL, or pattern: (a synthetic
            video that needs no file).
        out: annotated video (.mp4, .mov, .mkv) with the sound of the source, or an image if SOURCE is an image.
        landmarks: file for the landmarks of every frame: .jsonl, .csv or .parquet.
        json: also write the counts and times, with networks, machine and versions, to this file; - for standard output.
        show: show the result in a window; q closes it.
        force: replace files that exist.
        draw: parts of each face to draw: box, label, landmarks and lines, separated by commas, or none.
        start: begin at this time, in seconds or [HH:]MM:SS.
        end: stop at this time, in seconds or [HH:]MM:SS.
        size: request this image size from a camera or pattern, for example 1280x720.
        fps: request this frame rate from a camera or pattern.
        timeout: seconds to wait for a camera or URL.
        decode: device that decodes a video: cpu; cuda or cuda:N for an NVIDIA GPU, where the decoded images stay; auto
            for the GPU if TensorRT runs the networks there.
    """
    options = TrackerOptions(**tracking)
    decode = options.where_to_decode(decode)
    reading = {"start": start, "end": end, "size": size, "fps": fps, "timeout": timeout, "decode": decode}
    outputs = Outputs(out, landmarks, show, force, draw)
    others = {"--out": out, "--landmarks": landmarks}
    with json_results(json, force=force, inputs=[source], others=others) as to_json:
        run(source, outputs, options, reading, to_json)


def run(
    source: str,
    outputs: Outputs,
    options: TrackerOptions,
    reading: Mapping[str, Any],
    to_json: Results,
) -> None:
    """Track ``source`` into ``outputs``, print the tables and write the report; then raise an error or a signal.

    Everything is checked and opened before the first frame is read.
    """
    import cv2

    from ...realtime.pipeline import Pipeline
    from ...realtime.sinks import LateHeader, open_sinks
    from ...realtime.sources import open_source
    from ...realtime.tracking.tracker import Tracker
    from ..report import Summary

    cv2.setNumThreads(options.threads or 1)  # OpenCV's default is all cores
    summary = Summary()
    with ExitStack() as stack:
        opened = stack.enter_context(open_source(source, **reading))
        # Check the outputs before loading networks, which may take minutes.
        header = LateHeader(opened.info)
        to_json.spare(opened.info.files)
        sinks = stack.enter_context(open_sinks(info=opened.info, header=header, **asdict(outputs)))
        tracker = stack.enter_context(Tracker(options))
        header.value = _header(opened.info, tracker)
        for told in _running(tracker):
            print(printable(told), flush=True)
        report = provenance() | {"source": opened.info.name, "networks": _networks(tracker)}
        pipeline = stack.enter_context(Pipeline(opened, tracker))
        with Held() as signals:  # from the first write to the end of the last
            trouble = _follow(pipeline, sinks, summary, signals)
            late = _close(stack)
            stopped = signals.take()  # in any case: what the caller gets is raised below
            trouble = late or trouble or stopped
    try:
        summary.print()
        to_json.write(report | summary.figures())
    finally:
        if trouble is not None:
            raise trouble


def _header(info: SourceInfo, tracker: Tracker) -> Header:
    """Return the header of a landmark file."""
    from ...realtime.sinks import Header
    from ..machine import versions

    aligner = tracker.networks.aligner
    models = {part: network.spec.name for part, network in tracker.runtimes.items()}
    return Header.of(
        info,
        scheme=aligner.scheme,
        landmarks=aligner.landmarks,
        models=models,
        versions={"nasion": __version__, **versions()},
    )


def _running(tracker: Tracker) -> list[str]:
    """Return the runtime and device of the networks, with the reason: one line for all networks that share them."""
    alike: dict[str, list[str]] = {}
    for network in tracker.runtimes.values():
        alike.setdefault(f"{network.provider} on {network.device}: {network.reason}", []).append(network.spec.name)
    return [f"{', '.join(names)}: {where}" for where, names in alike.items()]


def _networks(tracker: Tracker) -> dict[str, dict[str, str]]:
    """Return name, runtime and device of each network, for the report."""
    return {
        part: {"model": network.spec.name, "provider": network.provider, "device": network.device}
        for part, network in tracker.runtimes.items()
    }


def _follow(pipeline: Pipeline, sinks: Sinks, summary: Summary, signals: Held) -> BaseException | None:
    """Track to the end, or return the error or signal that ended the run: the results so far are still printed."""
    from ..progress import Progress

    begin = monotonic()
    try:
        with Progress(pipeline.info.name, pipeline.info.frames, "frames") as progress:
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


def _close(stack: ExitStack) -> BaseException | None:
    """Close the outputs, and return the error of closing them, if any."""
    try:
        stack.close()
    except (KeyboardInterrupt, NasionError) as trouble:
        return trouble
    return None
