"""Table of ``nasion bench`` on NVIDIA GPUs, next to published figures of other systems.

    python -m nasion.tools.gpu_table REPORT.json ...

The reports are those of ``nasion bench --json``, with one clip or with ``--streams``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ANCHORS = (  # published, not measured by us: system, GPU, milliseconds a face of the landmark network, streams
    ("NVIDIA Maxine landmarks (closed)", "T4", 0.91, "–"),
    ("NVIDIA Maxine landmarks (closed)", "A40", 0.61, "–"),
    ("NVIDIA Maxine landmarks (closed)", "L40", 0.44, "75 at 30 FPS"),
    ("RTMPose-t, TensorRT float16", "GTX 1660 Ti", 1.06, "–"),
)
_HEAD = ("system", "GPU", "engine, ms a face", "end to end, ms a frame", "share of the engine", "streams", "clock, MHz")


def rows(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Return the rows of one report: one for each number of threads, or the largest number of streams in real time."""
    name = "nasion" if report.get("measurement", True) else "NOT A MEASUREMENT"
    gpu = ", ".join(report["machine"].get("gpus", ())) or "no GPU"
    for result in report.get("results", ()):
        network = result["networks"].get("landmarks") or next(iter(result["networks"].values()))
        costs = result["costs"]
        share = costs["networks"]["wall"]["mean"] / costs["end to end"]["wall"]["mean"]
        system = f"{name}: {network['model']}, {network['provider']}, {network.get('precision') or 'as the file'}"
        figures = f"{network['ms_per_call']:.2f}", f"{costs['end to end']['wall']['mean']:.2f}", f"{share:.0%}"
        yield system, gpu, *figures, "–", clock(report.get("gpu"))
    in_time = [row for row in report.get("rows", ()) if row["fps_per_stream"] >= 0.99 * row["fps"]]
    if in_time:
        most = max(in_time, key=lambda row: int(row["streams"]))
        yield f"{name}: streams", gpu, "–", "–", "–", f"{most['streams']} at {most['fps']:g} FPS", clock(most["gpu"])


def clock(gpu: Mapping[str, Any] | None) -> str:
    """Return the clock of the GPU, which was locked if all samples are the same, or its range."""
    if gpu is None:
        return "not reported"
    low, high = gpu["clock_mhz_min"], gpu["clock_mhz_max"]
    return f"{low:.0f}, steady" if low == high else f"{low:.0f} to {high:.0f}"


def markdown(reports: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of some reports, the published figures last."""
    anchors = [(f"{name}, published", gpu, f"{ms:.2f}", "–", "–", streams, "–") for name, gpu, ms, streams in ANCHORS]
    found = [row for report in reports for row in rows(report)]
    lines = [_HEAD, ("---",) * 2 + ("---:",) * 5, *found, *anchors]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    print(markdown([json.loads(Path(name).read_text()) for name in sys.argv[1:]]), end="")
