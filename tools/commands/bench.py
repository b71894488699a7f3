"""``nasion bench``: wall time and CPU time of the tracker on a clip, per stage."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ...engines.errors import NasionError, printable
from ...realtime.tracking.options import TrackerOptions
from ..gpu_meter import GpuMeter
from ..machine import cores, provenance
from ..options import NONE_GIVEN, Counts, Tracking, read_counts
from ..results import Json, json_results

if TYPE_CHECKING:
    from ..measurement import Clip, Measurement


def bench(
    source: str,
    /,
    *,
    repeat: int = 3,
    frames: int | None = None,
    streams: Annotated[Counts | None, Parameter(converter=read_counts, n_tokens=1)] = None,
    fps: float = 30.0,
    seconds: float = 10.0,
    json: Json = None,
    force: bool = False,
    quiet: bool = False,
    decode: str = "auto",
    tracking: Tracking = NONE_GIVEN,
) -> None:
    """Measure the speed of the tracker on SOURCE, with one thread and with all, or with --threads.

    Args:
        source: a video file, a folder of images, pattern:, or - for standard input. Live sources are refused. The clip
            is decoded into memory first, at most 1500 frames or 2 GB.
        repeat: number of passes over the clip.
        frames: take this many frames from the beginning, whatever memory they need (default: as many as fit).
        streams: instead, track so many streams of SOURCE at once as nasion live does, in real time; several numbers
            separated by commas, such as 1,4,16, are measured one after the other (default: none).
        fps: frames per second of each of these streams.
        seconds: duration of the measurement for each number of streams.
        json: also write all results, with machine and versions, to this file; - for standard output (default: none).
        force: replace that file.
        quiet: print warnings and errors only.
        decode: device that decodes the clip and holds its frames, as in nasion track.
    """
    from ..measurement import load, measure, readable_twice

    _check(repeat, frames, fps, seconds)
    options = TrackerOptions(**tracking)
    if streams is not None:
        with json_results(json, force=force, inputs=[source], silent=quiet) as to_json:
            to_json.write(_bench_streams(source, streams, options, fps, seconds, options.where_to_decode(decode)))
        return
    with json_results(json, force=force, inputs=[source], silent=quiet) as to_json, readable_twice(source) as source:
        loaded = load(source, frames, decode=options.where_to_decode(decode))
        print(f"{printable(Path(source).name)}: {loaded}", flush=True)
        results = []
        with GpuMeter() as meter:
            for threads in [options.threads] if "threads" in tracking else sorted({1, cores()}):
                results.append(measure(loaded, options.but(threads=threads), repeat=repeat))
                _print(results[-1])
        if peak := peak_memory():
            print(f"\npeak memory {peak / 1e6:.0f} MB, {loaded.bytes / 1e6:.0f} MB of it decoded frames")
        to_json.write(report(loaded, results, repeat=repeat) | {"gpu": meter.figures()})


def _check(repeat: int, frames: int | None, fps: float, seconds: float) -> None:
    for name, value in (("--repeat", repeat), ("--frames", frames), ("--fps", fps), ("--seconds", seconds)):
        if value is not None and not 1 <= value < math.inf:
            raise NasionError(f"{name} is {value}; it must be at least 1")


def _bench_streams(
    source: str, counts: Sequence[int], options: TrackerOptions, fps: float, seconds: float, decode: str
) -> dict[str, Any]:
    """Measure and print many streams, and return the figures as JSON data."""
    import cv2
    from rich.console import Console
    from rich.table import Table

    from ..live_measurement import SWITCH_INTERVAL, measure_streams

    cv2.setNumThreads(options.threads or 1)
    sys.setswitchinterval(SWITCH_INTERVAL)
    rows = list(measure_streams(source, counts, options, fps=fps, seconds=seconds, decode=decode))
    table = Table(box=None, pad_edge=False)
    for column in ("streams", "FPS of the slowest", "p50 ms", "p99 ms", "dropped", "faces", "cores a stream", "batch"):
        table.add_column(column, justify="right")
    for row in rows:
        latency = (f"{row.latency_ms['p50']:.1f}", f"{row.latency_ms['p99']:.1f}")
        cpu, faces, batch = f"{row.cpu_per_stream:.3f}", f"{row.faces_per_frame:.2f}", f"{row.mean_batch:.2f}"
        table.add_row(str(row.streams), f"{row.fps_per_stream:.1f}", *latency, str(row.dropped), faces, cpu, batch)
    Console().print(table)
    return {"clip": Path(source).name, **provenance(), "rows": [asdict(row) for row in rows]}


def _print(result: Measurement) -> None:
    from rich.console import Console

    from ..report import stage_table

    console = Console()
    console.print(f"\n[bold]{result.threads} thread{'s' if result.threads != 1 else ''}[/]")
    for name, network in result.networks.items():
        console.print(
            f"{name}: {network['model']}, {network['provider']} on {network['device']}, {network['threads']} threads, "
            f"{network['cores_busy']} cores busy, {network['calls_per_frame']} calls per frame\n"
            f"  {network['reason']}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    console.print(stage_table(result.costs))
    console.print(
        f"{result.fps:.0f} FPS; through the threads with decoding {result.threaded['fps']:.0f} FPS, "
        f"{result.threaded['cpu']:.2f} ms of CPU time per frame; a face in {result.found:.1%} of frames",
        highlight=False,
    )


def report(clip: Clip, results: Sequence[Measurement], *, repeat: int) -> dict[str, Any]:
    """Return all results as JSON data, with clip, command, machine and versions."""
    first, path = clip.frames[0], Path(clip.source)
    return {
        "clip": {
            "name": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
            "frames": len(clip.frames),
            "whole": clip.whole,
            "size": [first.width, first.height],
            "decoded_on": clip.device,
        },
        **provenance(),
        "repeat": repeat,
        "peak_memory_bytes": peak_memory(),
        "decoded_bytes": clip.bytes,
        "units": "milliseconds per frame unless stated otherwise",
        "results": [asdict(result) for result in results],
    }


def peak_memory() -> int:
    """Return the peak memory of this process in bytes, or 0 if the system does not report it."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
