"""Mutated video files through ``nasion track``. Usage: python -m tests.corpus.fuzz FOLDER [--files 2000] [--first 0]

Samples of the corpus with bytes flipped, cut out or joined, each mutation determined by its number. What must hold:
no traceback, no abort, no hang, and outputs that can be read. The report goes to docs/bench/fuzz.json; files with a
fault stay in FOLDER.
"""

from __future__ import annotations

import argparse
import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np

import nasion
from nasion.engines.errors import NasionError
from nasion.tools.machine import provenance
from nasion.tools.main import main as command
from nasion.tools.terminal.progress import Progress

from .samples import SAMPLES, make
from .worker import Failed, Worker

BASES = (
    "h264-aac.mp4", "h264-fragments.mp4", "h264-rotated-90.mp4", "hevc.mp4", "av1.mp4", "mjpeg.mov", "h264-pcm.mov",
    "h264-flac.mkv", "ffv1.mkv", "mpeg2.mkv", "vp9-alpha.webm", "vp8.webm", "mpeg4.avi", "mjpeg.avi", "h264.ts",
    "hevc.ts", "mpeg2.ts", "mpeg1.mpg", "h264.flv", "wmv2.wmv", "theora.ogv", "mpeg2.mxf", "h264.h264", "ffv1.nut",
)  # fmt: skip
REPORT = Path(__file__).resolve().parents[2] / "docs" / "bench" / "fuzz.json"
_SECONDS = 120.0  # without an answer for so long, a file of one second hangs, even on a busy machine


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a file: ``status`` of the command, and ``fault``, empty if every requirement is met."""

    name: str
    status: str
    fault: str


def mutated(number: int, bases: list[bytes]) -> tuple[str, bytes]:
    """Return the kind and the content of mutation ``number`` of the base ``number % len(bases)``."""
    random = np.random.default_rng(number)
    base = bases[number % len(bases)]
    kind = ("flipped", "cut", "joined")[number // len(bases) % 3]
    if kind == "flipped":
        data = np.frombuffer(base, np.uint8).copy()
        places = random.integers(0, len(data), 2 ** random.integers(0, 9))
        if random.random() < 0.5:  # headers are where it hurts
            places %= min(2000, len(data))
        data[places] = random.integers(0, 256, len(places))
        return kind, data.tobytes()
    begin, end = sorted(random.integers(0, len(base), 2).tolist())
    if kind == "cut":
        return kind, (base[:begin], base[begin:], base[:begin] + base[end:])[random.integers(3)] or base[:1]
    other = bases[random.integers(len(bases))]
    return kind, (base + other, base[:begin] + other, base[:begin] + other[begin:])[random.integers(3)]


def track(path: Path, folder: Path) -> tuple[str, str]:
    """Track a file with a fake tracker, and return the status of the command and what is wrong, if anything."""
    from nasion.realtime.tracking import tracker

    from ..support.commands import FakeTracker

    tracker.Tracker = lambda options: FakeTracker()  # type: ignore[misc,assignment]  # networks are not tested here
    out, landmarks = folder / "out.mp4", folder / "faces.jsonl"
    for each in (out, landmarks):
        each.unlink(missing_ok=True)
    said = io.StringIO()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(said):
            command(["track", str(path), "--out", str(out), "--landmarks", str(landmarks)])
        return "no exit", "the command did not exit"
    except SystemExit as end:
        status = "done" if end.code in (0, None) else "error"
        message = end.code if isinstance(end.code, str) else ""
    except BaseException as error:  # noqa: BLE001 - this is what is looked for
        return "traceback", f"{type(error).__name__}: {error}"
    if "Traceback" in said.getvalue():
        return status, f"traceback in a thread: {said.getvalue()[-500:]}"
    if status == "error" and not message.startswith("nasion: "):
        return status, f"no message: {message!r}"
    return status, unreadable(out, landmarks)


def unreadable(out: Path, landmarks: Path) -> str:
    """Return what is wrong with the outputs that are there, or an empty text."""
    try:
        rows = [frame.time for frame, _ in nasion.read(landmarks)] if landmarks.exists() else []
    except NasionError as error:
        return str(error)
    if not out.exists():
        return f"no video of {len(rows)} frames" if rows else ""
    try:
        with av.open(str(out)) as container:
            frames = sum(1 for _ in container.decode(video=0))
    except (av.FFmpegError, IndexError) as error:
        return f"the video cannot be read: {error}"
    return "" if frames >= len(rows) > 0 else f"{frames} frames in the video, {len(rows)} in the landmark file"


def run(folder: Path, numbers: range, *, progress: Progress | None = None) -> Iterator[Outcome]:
    """Track the mutations of these numbers, one after the other; files with a fault stay in ``folder``."""
    samples = {sample.name: sample for sample in SAMPLES}
    bases = [make(samples[name], folder / "bases").read_bytes() for name in BASES]
    with Worker(track, seconds=_SECONDS) as worker:
        for number in numbers:
            kind, data = mutated(number, bases)
            path = folder / f"{number}-{kind}-{BASES[number % len(BASES)]}"
            path.write_bytes(data)
            try:
                status, fault = worker(path, folder)
            except Failed as failed:
                status, fault = "failed", str(failed)
            yield Outcome(path.name, status, fault)
            if not fault:
                path.unlink()
            elif progress is not None:
                progress.print(f"{path.name}: {fault}")
            if progress is not None:
                progress.advance()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    numbers = range(given.first, given.first + given.files)
    outcomes: list[Outcome] = []
    with Progress("mutated files", given.files, "files") as progress, suppress(KeyboardInterrupt):
        outcomes.extend(run(given.folder, numbers, progress=progress))  # Ctrl-C leaves a report of those so far
    report = provenance(f"python -m tests.corpus.fuzz FOLDER --files {len(outcomes)} --first {given.first}") | {
        "bases": BASES,
        "files": len(outcomes),
        "kinds": Counter(outcome.name.split("-")[1] for outcome in outcomes),
        "statuses": Counter(outcome.status for outcome in outcomes),
        "faults": [asdict(outcome) for outcome in outcomes if outcome.fault],
    }
    REPORT.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
