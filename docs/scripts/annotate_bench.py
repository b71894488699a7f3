"""Measure offline annotation: speed next to live mode and MediaPipe, memory of long videos, many short inputs.

Usage: PYTHONPATH=src python docs/scripts/annotate_bench.py speed CLIP PYTHON_WITH_MEDIAPIPE [ROUNDS]
       PYTHONPATH=src python docs/scripts/annotate_bench.py memory [MINUTES]
       PYTHONPATH=src python docs/scripts/annotate_bench.py many [CLIPS] [IMAGES]

Times are CPU time with one thread, without loading, so that other work on the machine hardly counts. Each command
writes docs/bench/annotate-COMMAND.json. PYTHON_WITH_MEDIAPIPE has mediapipe==0.10.21 and av.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

MEDIAPIPE = """
import json, sys, time, av, cv2, mediapipe
cv2.setNumThreads(1)
mesh, count, found = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=1), 0, 0
with av.open(sys.argv[1]) as video:
    video.streams.video[0].thread_count = 1
    for frame in video.decode(video=0):
        result = mesh.process(frame.to_ndarray(format="rgb24"))
        found += bool(result.multi_face_landmarks)
        count += 1
        if count == 20:
            begin = time.process_time()
print(json.dumps({"cpu_ms": 1000 * (time.process_time() - begin) / (count - 20), "frames_with_a_face": found}))
"""


def annotated(clip: Path) -> dict[str, Any]:
    """Return the CPU time per frame of an annotation with JSON Lines, and its parts."""
    from nasion.realtime.annotate.annotate import prepared
    from nasion.realtime.annotate.annotating import look
    from nasion.realtime.annotate.exports import FORMATS, export
    from nasion.realtime.annotate.look_ahead.annotation import Annotation
    from nasion.realtime.annotate.results import Counts

    with tempfile.TemporaryDirectory() as folder, prepared([clip], Path(folder)) as ready:
        (job,) = ready.jobs
        begin = process_time()
        end = look(job, ready.tracker, lambda *_: None)
        looked = process_time()
        counts = Counts()
        export(Annotation(job.journal), {"jsonl": job.path(FORMATS["jsonl"].suffix)}, also=[counts])
        done = process_time()
    parts = {"first_pass_ms": looked - begin, "look_ahead_and_export_ms": done - looked, "cpu_ms": done - begin}
    return {name: 1000 * value / end.frames for name, value in parts.items()} | {"frames": end.frames}


def live(clip: Path) -> dict[str, Any]:
    """Return the CPU time per frame of live mode on a file, with the same measures and JSON Lines."""
    import nasion

    with tempfile.TemporaryDirectory() as folder:
        video = nasion.track(clip, measures=("pose", "eyes", "mouth"))
        begin = process_time()
        frames = nasion.write(Path(folder) / "faces.jsonl", video)
        return {"cpu_ms": 1000 * (process_time() - begin) / frames, "frames": frames}


def speed(clip: str, peer: str, rounds: str = "3") -> dict[str, Any]:
    """Return the least CPU time per frame of some rounds, for each side in turn."""
    sides: dict[str, list[str]] = {
        "annotate": [sys.executable, __file__, "one", "annotated", clip],
        "live": [sys.executable, __file__, "one", "live", clip],
        "mediapipe": [peer, "-c", MEDIAPIPE, clip],
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(int(rounds)):
        for name, command in sides.items():
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
    best = {name: min(each, key=lambda one: float(one["cpu_ms"])) for name, each in found.items()}
    return {name: each | {"fps_per_core": 1000 / each["cpu_ms"]} for name, each in best.items()}


def memory(minutes: str = "600") -> dict[str, Any]:
    """Return the memory of an annotation at several points of a journal of some minutes, and of the first pass.

    The first pass is measured over 7 chunks of the test pattern; the look-ahead, the figures of the report and the
    export of all formats but .pts over the given minutes, ten hours by default, whose journal repeats a chunk with a
    face and fifteen without one. Growth is that of the highest value from the first half to the second.
    """
    from nasion.realtime.annotate.annotate import prepared
    from nasion.realtime.annotate.exports import FORMATS, export
    from nasion.realtime.annotate.first_pass import chunks, open_frames
    from nasion.realtime.annotate.job import header_of
    from nasion.realtime.annotate.journal import Chunk, End, Journal, JournalFrame, Whole, read_chunks, read_header
    from nasion.realtime.annotate.look_ahead.annotation import Annotated, Annotation
    from nasion.realtime.annotate.report.collecting import Collector
    from nasion.realtime.annotate.results import Counts

    first: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        with prepared(["pattern:?seconds=103"], out) as ready:
            (job,) = ready.jobs
            with open_frames(job, Whole()) as opened, Journal(job.journal) as journal:
                journal.begin(header_of(job, ready.tracker, opened.info, {}))
                for chunk in chunks(job, opened, ready.tracker.networks, size=512):
                    journal.add(chunk)
                    first.append(resident())
        long = out / "long.journal"
        (pattern, *_) = read_chunks(job.journal)
        count = int(minutes) * 60 * 30 // 512
        with Journal(long) as journal:
            journal.begin(read_header(job.journal))
            for number in range(count):
                frames = [
                    JournalFrame(i, i / 30, frame.size, [] if number % 16 else frame.faces)
                    for i, frame in enumerate(pattern.frames, start=512 * number)
                ]
                journal.add(Chunk(number, frames, {} if number % 16 else pattern.appearance))
            journal.finish(End(512 * count))
        points: list[float] = []

        def watch(annotated: Annotated) -> None:
            if annotated.frame.index % (512 * count // 10) == 0 and annotated.frame.index:
                points.append(resident())

        paths = {name: out / f"long{FORMATS[name].suffix}" for name in FORMATS if name != "pts"}
        begin = process_time()
        counts = Counts()
        export(Annotation(long), paths, also=[counts, Collector(512 * count), watch])
        seconds = process_time() - begin
        size = long.stat().st_size
    half = len(points) // 2
    return {
        "first_pass_mb_by_chunk": [round(each) for each in first],
        "frames": counts.frames,
        "faces": counts.faces,
        "journal_mb": round(size / 1e6),
        "mb_by_tenth": [round(each) for each in points],
        "growth_mb": round(max(points[half:]) - max(points[:half])),
        "look_ahead_and_exports_ms": 1000 * seconds / (512 * count),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
    }


def resident() -> float:
    """Return the resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def many(clips: str = "1000", images: str = "100000") -> dict[str, Any]:
    """Return the CPU time per frame of many short inputs in one run, and the share of the networks and of decoding.

    Rule of the scale: every input is a copy of the same clip of half a second, or of the same image, so the time is
    proportional to their number; loading the networks, once in a run, is given apart.
    """
    import shutil

    import cv2

    from nasion.realtime.annotate.annotate import prepared
    from nasion.realtime.sources.synthetic import CameraMotion, write_clip

    cv2.setNumThreads(1)
    found: dict[str, Any] = {}
    for kind, count in (("clips", int(clips)), ("images", int(images))):
        with tempfile.TemporaryDirectory() as folder:
            inputs, motion = Path(folder) / kind, CameraMotion(seconds=0.5)
            inputs.mkdir()
            first = inputs / ("0.mp4" if kind == "clips" else "0.jpg")
            if kind == "clips":
                write_clip(first, motion)
            else:
                cv2.imwrite(str(first), motion.render(0))
            for number in range(1, count):
                shutil.copy(first, inputs / f"{number}{first.suffix}")
            begin = process_time()
            with prepared([inputs], Path(folder) / "out", independent=kind == "images") as ready:
                loaded = process_time()
                spent = [0.0]
                for part in (ready.tracker.networks.detector, ready.tracker.networks.aligner):
                    part._runtime = Timed(part._runtime, spent)  # type: ignore[assignment]
                results = list(ready.results())
                done = process_time()
        frames = sum(result.frames for result in results)
        assert all(result.complete for result in results)
        found[kind] = {
            "inputs": count,
            "frames": frames,
            "loading_s": loaded - begin,
            "cpu_ms": 1000 * (done - loaded) / frames,
            "networks_ms": 1000 * spent[0] / frames,
        }
    return found


class Timed:
    """Network whose CPU time is counted."""

    def __init__(self, network: Any, spent: list[float]) -> None:
        self._network, self._spent = network, spent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, images: Any) -> Any:
        begin = process_time()
        result = self._network(images)
        self._spent[0] += process_time() - begin
        return result


COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {"speed": speed, "memory": memory, "many": many}


def main() -> None:
    from reports import BENCH

    from nasion.tools.machine import provenance, short

    command, *arguments = sys.argv[1:]
    if command == "one":
        import cv2

        cv2.setNumThreads(1)
        print(json.dumps({"annotated": annotated, "live": live}[arguments[0]](Path(arguments[1]))))
        return
    measured = COMMANDS[command](*arguments)
    shown = " ".join(["python docs/scripts/annotate_bench.py", command, *(short(each) for each in arguments)])
    report = provenance(shown) | {"measured": measured}
    (BENCH / f"annotate-{command}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
