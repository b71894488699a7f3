"""``nasion live``: track many cameras, streams and files at once, and keep them running."""

from __future__ import annotations

import json as json_module
import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from cyclopts import Parameter

from ...engines.closing import Closing
from ...engines.errors import NasionError, SinkError, printable
from ...engines.output_paths import cause_and_remedy, check_output_paths, writing
from ...engines.signals import Held
from ...realtime.tracking.options import TrackerOptions
from ..machine import provenance
from ..options import (
    NONE_GIVEN,
    PARTS,
    Area,
    Bytes,
    Duration,
    Parts,
    Tracking,
    read_area,
    read_bytes,
    read_duration,
    read_parts,
)
from ..results import Json, Results, json_results

if TYPE_CHECKING:
    from ...realtime.live.hub import Hub
    from ...realtime.live.results import LiveResult
    from ...realtime.live.specs import SourceSpec
    from ...realtime.live.status import HubStatus
    from ...realtime.live.subscriptions import Subscription
    from ...realtime.live.web.serving import Serving
    from ...realtime.sinks.header import Header
    from ...realtime.sinks.whole import WholeFile

_log = logging.getLogger(__name__)
DEFAULT_ADDRESS = "127.0.0.1:8765"
_WAIT = 0.25  # seconds between two looks at the state of the sources
_WAITING = 64  # results of each source that wait for the landmark file


@dataclass(frozen=True, slots=True)
class _Serve:
    """Options of the page.

    Attributes:
        token_file: file with the token that clients must send; NASION_TOKEN in the environment serves as well. Needed
            if --serve names another host than this one (default: none).
        tls_cert: certificate for HTTPS, in PEM (default: no HTTPS).
        tls_key: its key, in PEM (default: none).
        root_path: path under which a proxy shows the page, such as /faces; it may be left in requests
            or removed from them.
        allow_host: further name of the page, such as that of a proxy; may be repeated.
    """

    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    root_path: str = ""
    allow_host: tuple[str, ...] = ()


def live(
    *sources: str,
    serve: str | None = None,
    landmarks: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    record: Path | None = None,
    rotate: Annotated[Duration, Parameter(converter=read_duration)] = Duration(600),  # noqa: B008
    keep_size: Annotated[Bytes | None, Parameter(converter=read_bytes)] = None,
    draw: Annotated[Parts, Parameter(converter=read_parts, n_tokens=1, show_default=",".join)] = Parts(PARTS),  # noqa: B008
    max_fps: float | None = None,
    roi: Annotated[Area | None, Parameter(converter=read_area, n_tokens=1)] = None,
    sources_file: Annotated[Path | None, Parameter(name="--sources")] = None,
    loop: bool = False,
    no_reconnect: bool = False,
    timeout: float | None = None,
    decode: str = "auto",
    json: Json = None,
    force: bool = False,
    quiet: bool = False,
    serving: Annotated[_Serve, Parameter(name="*")] = _Serve(),
    tracking: Tracking = NONE_GIVEN,
) -> None:
    """Track the faces of all SOURCES with one set of networks, and connect again to those that are lost.

    Runs until all sources have ended or, with --serve, until it is stopped. Ctrl-C, SIGTERM and SIGHUP stop it and
    leave every file readable.

    Args:
        sources: cameras (number or /dev/video0), addresses (rtsp, rtmp, http, udp) or files, which are played at their
            own pace; each may be named, as in door=rtsp://camera.local/stream.
        serve: show a page with all sources, the API and the metrics at HOST:PORT, without a value at 127.0.0.1:8765
            (default: no page).
        landmarks: file for the landmarks of every frame, .jsonl; - for JSON Lines on standard output (default: none).
        record: folder in which each source is recorded, with the faces drawn in (default: none).
        rotate: length of a recorded file, such as 10m or 1h.
        keep_size: remove the oldest recordings in the folder above this size, such as 50G (default: keep all).
        draw: parts of each face to draw in recordings: box, label, landmarks and lines, separated by commas, or none to
            record the images without faces; both are re-encoded.
        max_fps: track at most so many frames per second of each source (default: all).
        roi: track faces in this part of the image only: X,Y,WIDTH,HEIGHT in pixels (default: the whole image).
        sources_file: TOML file with more sources: a table for each, such as [door] with source, max_fps, roi and loop
            (default: none).
        loop: start files again when they have ended.
        no_reconnect: end a source when its connection is lost.
        timeout: seconds without a frame after which a source is lost (default: 3, and 15 for HLS).
        decode: device that decodes: cpu; cuda or cuda:N for an NVIDIA GPU; auto for the GPU if TensorRT runs the
            networks there.
        json: also write the counts of every source to this file at the end; - for standard output (default: none).
        force: replace files that exist.
        quiet: print warnings and errors only.
    """
    from ...realtime.live.specs import SourceSpec, read_specs

    options = TrackerOptions(**tracking)
    defaults: dict[str, Any] = {"max_fps": max_fps, "roi": roi, "loop": loop}
    specs = [SourceSpec.parse(text, **defaults) for text in sources]
    specs += read_specs(sources_file, **defaults) if sources_file is not None else []
    if not specs and serve is None:
        raise NasionError(
            "no source is given; name at least one, such as nasion live rtsp://camera.local/stream, or add them on the "
            "page of --serve"
        )
    if str(landmarks) == "-" and str(json) == "-":
        raise SinkError("--landmarks and --json are both -; give one of them the name of a file")
    file = None if str(landmarks) == "-" else landmarks
    files = [str(each.source) for each in specs if each.is_local]
    check_output_paths({"--landmarks": file}, force=force, suffixes=(".jsonl",), inputs=files)
    page = None if serve is None else _page(serve, serving)
    on_stream = landmarks is not None and file is None
    lines = None if landmarks is None else _Lines(file, sys.stdout)
    if record is not None:
        from ...realtime.faces.drawing import drawing
        from ...realtime.live.recording import Recording

        recording = Recording(record, rotate, keep_size, drawing(draw))
    else:
        recording = None
    others = {"--landmarks": file}
    with json_results(json, force=force, inputs=files, others=others, silent=quiet or on_stream) as to_json:
        hub_options: dict[str, Any] = {"timeout": timeout, "reconnect": not no_reconnect, "record": recording}
        hub_options["decode"] = options.where_to_decode(decode)
        run(specs, options, hub_options, lines, page, to_json, quiet=quiet)


def _page(text: str, given: _Serve) -> Serving:
    from ...realtime.live.web.serving import Serving

    return Serving.of(text or DEFAULT_ADDRESS, **{each.name: getattr(given, each.name) for each in fields(given)})


def run(
    specs: Sequence[SourceSpec],
    options: TrackerOptions,
    hub_options: Mapping[str, Any],
    lines: _Lines | None,
    page: Serving | None,
    to_json: Results,
    *,
    quiet: bool = False,
) -> None:
    """Track all sources until they have ended or a signal comes; then print the table and raise an error or the signal.

    Raises:
        NasionError: an option is not allowed, or all sources have ended because of errors.
    """
    import cv2

    from ...realtime.live.hub import Hub
    from ...realtime.pipeline import header_of
    from ...realtime.sources import SourceInfo
    from ..live_measurement import SWITCH_INTERVAL
    from ..report import close, networks_of, running

    cv2.setNumThreads(options.threads or 1)  # OpenCV's default is all cores
    sys.setswitchinterval(SWITCH_INTERVAL)
    with ExitStack() as stack:
        hub = stack.enter_context(Hub(options, **hub_options))
        assert hub.tracker is not None
        for told in running(hub.tracker):
            print(printable(told), flush=True)
        results = hub.subscribe(capacity=_WAITING)
        if page is not None:
            from ...realtime.live.web.serving import serve

            server = stack.enter_context(serve(hub, page))
            print(f"Serving {server.address}; Ctrl-C stops", flush=True)
        if lines is not None:
            lines.begin(header_of(SourceInfo("", 0, 0, live=True), hub.tracker))
            stack.enter_context(lines)
        for spec in specs:
            hub.add(spec)
        with Held() as signals:  # from the first write to the end of the last
            trouble = _follow(hub, results, lines, signals, until_stopped=page is not None, quiet=quiet)
            status = hub.status()
            late = close(stack)
            stopped = signals.take()
            trouble = late or trouble or stopped or _all_failed(status)
    try:
        _print(status)
        to_json.write(provenance() | {"networks": networks_of(hub.tracker)} | asdict(status))
    finally:
        if trouble is not None:
            raise trouble


def _follow(
    hub: Hub,
    results: Subscription,
    lines: _Lines | None,
    signals: Held,
    *,
    until_stopped: bool,
    quiet: bool,
) -> BaseException | None:
    """Write all results until the sources have ended, or return the error or signal that stopped this."""
    from ..terminal.progress import Progress

    shown = monotonic()
    try:
        with Progress(silent=quiet, unit="frames") as progress:
            while True:
                with signals.let(), suppress(TimeoutError):
                    result = results.get(_WAIT)
                    if lines is not None:
                        lines.write(result)
                if monotonic() - shown >= _WAIT:
                    shown = monotonic()
                    status = hub.status()
                    progress("", status.frames, None, _note(status))
                    if hub.is_over and not until_stopped and not results.ready:
                        return None
    except (KeyboardInterrupt, NasionError) as stopped:
        return stopped
    except OSError as error:  # an error of standard output, whose reader may be gone
        return signals.take() or error


def _note(status: HubStatus) -> str:
    """Return the states of the sources in a few words, such as ``2 live, 1 reconnecting``."""
    states = Counter(each.state for each in status.sources)
    parts = [f"{count} {state}" for state, count in states.items()]
    latency = max((each.latency.p99 for each in status.sources if each.latency), default=None)
    return ", ".join([*parts, *([] if latency is None else [f"p99 {latency:.0f} ms"]), f"{status.dropped:,} dropped"])


def _all_failed(status: HubStatus) -> NasionError | None:
    """Return an error if there are sources and each of them has ended because of an error."""
    reasons = [each.reason for each in status.sources if each.state == "ended"]
    if not reasons or len(reasons) < len(status.sources) or not all(reasons):
        return None
    return NasionError("; ".join(dict.fromkeys(reasons)))


def _print(status: HubStatus) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("source", "state", "frames", "dropped", "reconnects", "identities", "p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if column in ("source", "state") else "right")
    for each in status.sources:
        counts = (each.frames, each.dropped, each.reconnects, each.identities)
        latency = each.latency and (f"{each.latency.p50:.1f}", f"{each.latency.p99:.1f}")
        table.add_row(each.name, each.state, *(f"{count:,}" for count in counts), *(latency or ("", "")))
    Console().print(table)


class _Lines(Closing):
    """Landmarks of all sources as JSON Lines, in a file or on standard output.

    A file that cannot be written, as on a full disk, loses lines but stops nothing: that is logged once.
    """

    def __init__(self, path: Path | None, stream: TextIO) -> None:
        """Write to ``path``, or to ``stream`` if it is None."""
        self._path, self._stream = path, stream
        self._file: WholeFile | None = None
        self._lost = 0

    def begin(self, header: Header) -> None:
        """Open the file and write the header.

        Raises:
            SinkError: the file cannot be written.
        """
        if self._path is not None:
            from ...realtime.sinks.whole import WholeFile

            with writing(self._path):
                self._file = WholeFile(self._path)
        self._put(header.to_json())

    def write(self, result: LiveResult) -> None:
        """Write one line.

        Raises:
            OSError: standard output cannot be written.
        """
        line = json_module.dumps(result.to_dict(), separators=(",", ":"), allow_nan=False)
        try:
            self._put(line)
        except OSError as error:
            if self._path is None:
                raise
            if not self._lost:
                _log.warning("%s: lines are lost: %s", printable(self._path), cause_and_remedy(error))
            self._lost += 1
            return
        if self._lost:
            _log.warning("%s: written again; %d lines are lost", printable(self._path), self._lost)
            self._lost = 0

    def _put(self, line: str) -> None:
        if self._file is None:
            self._stream.write(line + "\n")
            self._stream.flush()
        else:
            self._file.write(f"{line}\n".encode())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
