"""Kill annotations at random moments, resume them, and compare every byte with an uninterrupted run.

Usage: PYTHONPATH=src python -m tests.realtime.annotate.kills [KILLS] [JSON]

Two clips of 1.5 s of the test pattern are annotated by two processes in all formats. A run is ended by ``kill -9`` ten
times at rising degrees of its progress, which is counted in chunks of the journals and in finished outputs, and is then
completed; the next kill begins with an empty folder.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy, rmtree
from time import monotonic, sleep
from typing import Any

from nasion.realtime.sources.synthetic import CameraMotion, write_clip

from ...support.commands import ENVIRONMENT

FORMATS = "jsonl,csv,parquet,coco,cvat,pts,vtt"
SCRIPT = "import nasion.realtime.annotate.job as job; job.CHUNK = 16\nfrom nasion.tools.main import main\nmain()"
"""The command with short chunks, so that a short clip has several."""
SHORT_CHUNKS = """import nasion.realtime.annotate.job as job
from nasion.realtime.annotate.workers import processes
job.CHUNK = 8
def serve(*given, serve=processes._serve):
    serve(*given)
processes._serve = serve
"""
"""Module that gives the processes of a run short chunks, too: they find ``serve`` in it."""
_AT_A_TIME = 10  # kills of a run


@dataclass
class Kills:
    """Runs of a command that is killed, and what they left.

    Attributes:
        clips: the inputs.
        folder: folder for the outputs, and for the module with short chunks.
        workers: processes of a run.
        progress: progress of each killed run, from 0 to 1.
        runs: number of runs that were completed after their kills.
        differing: names of outputs that differ from those of an uninterrupted run.
    """

    clips: Sequence[Path]
    folder: Path
    workers: int = 2
    progress: list[float] = field(default_factory=list)
    runs: int = 0
    differing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Run the command once without a kill."""
        (self.folder / "short_chunks.py").write_text(SHORT_CHUNKS)
        out, begin, first = self.folder / "whole", monotonic(), 0.0
        process = self._start(out)
        while process.poll() is None:
            if not first and self._done(out):
                first = monotonic() - begin
            sleep(0.02)
        _check(process.returncode)
        self.expected: dict[str, bytes] = content(out)
        self._whole = self._done(out)
        # seconds until the first chunk, and then between two steps
        self._pauses = first, (monotonic() - begin - first) / self._whole

    def kill(self, count: int, chooser: random.Random) -> None:
        """Kill a run ``count`` times, complete it and compare its outputs."""
        out = self.folder / "killed"
        rmtree(out, ignore_errors=True)
        for target in sorted(chooser.uniform(0, self._whole) for _ in range(count)):
            process = self._start(out)
            while process.poll() is None and self._done(out) < int(target):
                sleep(0.02)
            sleep(target % 1 * self._pauses[int(target) > 0])
            if process.poll() is None:
                process.kill()
                process.wait()
                self.progress.append(self._done(out) / self._whole)
            else:  # it was faster than the kill
                _check(process.returncode)
        _check(self._start(out).wait())
        found = content(out)
        self.runs += 1
        self.differing += [
            name for name in sorted(self.expected.keys() | found.keys()) if self.expected.get(name) != found.get(name)
        ]

    def _start(self, out: Path) -> subprocess.Popen[bytes]:
        arguments = ["annotate", *map(str, self.clips), "--out", str(out), "--format", FORMATS, "--resume", "--quiet"]
        script = "import short_chunks\nfrom nasion.tools.main import main\nmain()"
        path = f"{self.folder}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments, "--workers", str(self.workers)],
            env={**ENVIRONMENT, "PYTHONPATH": path},
        )

    def _done(self, out: Path) -> int:
        """Return the progress of a run: chunks in the journals and finished outputs."""
        if not out.exists():
            return 0
        names = [path for path in out.iterdir() if not path.name.startswith(".")]
        journals = [path for path in names if path.suffix == ".journal"]
        return len(names) - len(journals) + sum(path.read_bytes().count(b'\n{"chunk":') for path in journals)


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"the run ended with status {status}")


def content(folder: Path) -> dict[str, bytes]:
    """Return the content of all files; the remains of a killed run would be among them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def killed_runs(folder: Path, *, kills: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Kill runs at random moments; yield how often, how far they were, and which outputs differed, after each run."""
    clips = [folder / "one.mp4", folder / "two.mp4"]
    write_clip(clips[0], CameraMotion(seconds=1.5))
    copy(clips[0], clips[1])
    chooser, runs = random.Random(seed), Kills(clips, folder)
    while (left := kills - len(runs.progress)) > 0:
        runs.kill(min(_AT_A_TIME, left), chooser)
        tenths = [min(int(10 * share), 9) for share in runs.progress]
        yield {
            "kills": len(runs.progress),
            "workers": runs.workers,
            "runs_completed": runs.runs,
            "files_compared": runs.runs * len(runs.expected),
            "differing": runs.differing,
            "kills_in_each_tenth_of_the_run": [tenths.count(tenth) for tenth in range(10)],
        }


def main() -> None:
    """Kill runs and write a report."""
    from nasion.tools.machine import provenance

    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        for found in killed_runs(Path(folder), kills=kills):
            print(json.dumps(found), flush=True)
            report = provenance(f"python -m tests.realtime.annotate.kills {kills}") | {"measured": found}
            if len(sys.argv) > 2:
                Path(sys.argv[2]).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
