"""Kill annotations at random moments, resume them, and compare every byte with an uninterrupted run.

Usage: PYTHONPATH=src python -m tests.realtime.annotate.kills [KILLS] [JSON]

A run of 1.5 s of the test pattern with all formats ends by ``kill -9`` at a random moment of its work, is resumed, and
is compared. One kill in ten comes before the work begins, and the resumed run is killed as well.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import tempfile
from pathlib import Path
from shutil import rmtree
from time import monotonic, sleep
from typing import Any

from nasion.realtime.sources.synthetic import CameraMotion, write_clip

FORMATS = "jsonl,csv,parquet,coco,cvat,pts,vtt"
SCRIPT = "import nasion.realtime.annotate.job as job; job.CHUNK = 16\nfrom nasion.tools.main import main\nmain()"
"""The command with short chunks, so that a short clip has several."""


def killed_runs(clip: Path, folder: Path, *, kills: int, seed: int = 0) -> dict[str, Any]:
    """Kill runs at random moments and return how often, and which outputs differed in the end."""
    chooser = random.Random(seed)
    run = _Runs(clip)
    work = run.to_the_end(folder / "whole")
    expected = _content(folder / "whole")
    done = ends = 0
    frames: list[int] = []
    differing: list[str] = []
    while done < kills:
        out = folder / "killed"
        rmtree(out, ignore_errors=True)
        early = chooser.random() < 0.1
        for _ in range(2 if early else 1):
            if run.killed(out, None if early else chooser.uniform(0, work)):
                done += 1
                journal = out / "clip.journal"
                frames.append(journal.read_bytes().count(b'\n{"frame":') if journal.exists() else 0)
        run.to_the_end(out)
        ends += 1
        now = _content(out)
        differing += [name for name in expected.keys() | now.keys() if expected.get(name) != now.get(name)]
    total = frame_count(expected["clip.journal"])
    return {
        "kills": done,
        "runs_resumed": ends,
        "files_compared": ends * len(expected),
        "differing": differing,
        "before_the_first_chunk": sum(count == 0 for count in frames),
        "within_the_first_pass": sum(0 < count < total for count in frames),
        "while_outputs_were_written": sum(count == total for count in frames),
    }


def frame_count(journal: bytes) -> int:
    """Return the number of frames in a journal."""
    return journal.count(b'\n{"frame":')


class _Runs:
    """Runs of the command in processes of their own, which a fork server starts fast."""

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["nasion.tools.main", "cv2", "av", "onnxruntime", "cyclopts", "pyarrow"])

    def _start(self, out: Path) -> Any:
        arguments = ["annotate", str(self._clip), "--out", str(out), "--format", FORMATS, "--resume", "--quiet"]
        script = SCRIPT.replace("main()", f"main({arguments!r})")
        process = self._context.Process(target=exec, args=(script, {}))
        process.start()
        return process

    def to_the_end(self, out: Path) -> float:
        """Annotate, and return the seconds from the first entry of the journal on."""
        process = self._start(out)
        begin = self._begun(process, out)
        process.join()
        if process.exitcode:
            raise RuntimeError(f"the run ended with status {process.exitcode}")
        return monotonic() - begin

    def killed(self, out: Path, patience: float | None) -> bool:
        """Kill a run some seconds after its journal has begun, or at once; return False if it has ended before."""
        process = self._start(out)
        if patience is not None:
            self._begun(process, out)
            process.join(patience)
        process.kill()
        process.join()
        return bool(process.exitcode)

    def _begun(self, process: Any, out: Path) -> float:
        journal = out / "clip.journal"
        while process.is_alive() and not (journal.exists() and journal.stat().st_size):
            sleep(0.002)
        return monotonic()


def _content(folder: Path) -> dict[str, bytes]:
    """Return the content of all files; the remains of a killed run would be among them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def main() -> None:
    """Kill runs and write a report."""
    from nasion.tools.machine import provenance

    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, CameraMotion(seconds=1.5))
        found = killed_runs(clip, Path(folder), kills=kills)
    report = provenance(f"python -m tests.realtime.annotate.kills {kills}") | {"measured": found}
    text = json.dumps(report, indent=1) + "\n"
    print(text)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(text)


if __name__ == "__main__":
    main()
