"""Tables of live feeds: many streams, faults, and a long run."""

from __future__ import annotations

from reports import BENCH, read, table, where


def streams() -> str:
    """Return the figures of many live streams of one clip."""
    report = read(BENCH / "live-streams.json")
    rows = []
    for row in report["rows"]:
        latency = [f"{row['latency_ms'][name]:.1f}" for name in ("p50", "p95", "p99")]
        work = [f"{row['cpu_per_stream']:.3f}", f"{row['memory_per_stream_mb']:.0f}", f"{row['mean_batch']:.2f}"]
        calls = [f"{row['aligner_calls_per_s']:.0f}", f"{row['detector_calls_per_s']:.0f}"]
        load = "" if row["load"] is None else f"{row['load']:.1f}"
        name, slowest = str(row["streams"]), f"{row['fps_per_stream']:.1f}"
        rows.append([name, slowest, *latency, f"{row['dropped']:,}", *work, *calls, load])
    head = [
        "streams",
        "FPS of the slowest",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "dropped",
        "cores a stream",
    ]
    head += ["MB a stream", "mean batch", "aligner calls/s", "detector calls/s", "load before"]
    return table(head, rows) + where(report)


def live_faults() -> str:
    """Return the time to reconnect after each kind of fault."""
    report = read(BENCH / "live-faults.json")
    rows = []
    for row in report["rows"]:
        seconds, lost = row["reconnect_s"], row["frames_lost"]
        rows.append([row["what"].rstrip("."), f"{seconds['median']:.1f}", f"{seconds['worst']:.1f}"])
        rows[-1] += [f"{lost['median']:.0f}", f"{lost['worst']:.0f}"]
    head = ["fault", "s to reconnect: median", "worst", "frames lost: median", "worst"]
    return table(head, rows) + where(report)


def live_soak() -> str:
    """Return what a long run with random faults began and ended with."""
    report = read(BENCH / "live-soak.json")
    rows = [
        [name, f"{report['start'][key]:.0f}", f"{report['end'][key]:.0f}"]
        for name, key in (("memory, MB", "memory_mb"), ("open handles", "handles"), ("threads", "threads"))
    ]
    faults = ", ".join(f"{count:,} {name}" for name, count in report["faults_of_the_server"].items())
    return table(["", "start", "end"], rows) + (
        f"\n{report['frames']:,} frames of {report['sources']} sources, {report['tracked']:,} of them tracked; faults: "
        f"{faults}; {report['losses']:,} connections lost, {report['reconnects']:,} restored; "
        f"{report['sources_changed']} sources removed and added, or paused.\n" + where(report)
    )


TABLES = {
    "streams": streams,
    "live_faults": live_faults,
    "live_soak": live_soak,
}
