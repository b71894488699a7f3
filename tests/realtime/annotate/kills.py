"""Kill annotations at random moments, resume them, and compare every byte with an uninterrupted run.

Usage: PYTHONPATH=src python -m tests.realtime.annotate.kills [KILLS] [JSON]

Runs of 4 s of the test pattern are ended by ``kill -9`` after a random share of the time that they take, again and
again until one ends by itself; the next kill then begins with an empty folder.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import rmtree
from time import monotonic
from typing import Any

from nasion.realtime.sources.synthetic import CameraMotion, write_clip

from ...support.commands import ENVIRONMENT

FORMATS = "jsonl,csv,parquet,coco,cvat,pts,vtt"
SCRIPT = "import nasion.realtime.annotate.job as job; job.CHUNK = 16\nfrom nasion.tools.main import main\nmain()"
"""The command with short chunks, so that a short clip has several."""


def killed_runs(clip: Path, folder: Path, *, kills: int, seed: int = 0) -> dict[str, Any]:
    """Kill a run at random moments and return how often, and which outputs differed in the end."""
    chooser = random.Random(seed)
    begin = monotonic()
    _run(clip, folder / "whole")
    seconds = monotonic() - begin
    expected = _content(folder / "whole")
    done = ends = 0
    chunks: list[int] = []
    differing: list[str] = []
    while done < kills:
        out = folder / "killed"
        rmtree(out, ignore_errors=True)
        while True:
            patience = chooser.uniform(0.05, 1.0) * seconds if done < kills else None
            if _run(clip, out, patience):
                break
            done += 1
            journal = out / "clip.journal"
            chunks.append(journal.read_bytes().count(b'\n{"chunk":') if journal.exists() else -1)
        ends += 1
        now = _content(out)
        differing += [name for name in expected.keys() | now.keys() if expected.get(name) != now.get(name)]
    return {
        "kills": done,
        "runs_completed": ends,
        "files_compared": ends * len(expected),
        "differing": differing,
        "chunks_in_the_journal_when_killed": {str(count): chunks.count(count) for count in sorted(set(chunks))},
    }


def _run(clip: Path, out: Path, patience: float | None = None) -> bool:
    """Annotate, and kill the process after ``patience`` seconds; return True if it ended before."""
    arguments = ["annotate", str(clip), "--out", str(out), "--format", FORMATS, "--resume", "--quiet"]
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], env=ENVIRONMENT)
    try:
        status = process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    if status:
        raise RuntimeError(f"the run ended with status {status}")
    return True


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
        write_clip(clip, CameraMotion(seconds=4.0))
        found = killed_runs(clip, Path(folder), kills=kills)
    report = provenance(f"python -m tests.realtime.annotate.kills {kills}") | {"measured": found}
    text = json.dumps(report, indent=1) + "\n"
    print(text)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(text)


if __name__ == "__main__":
    main()
