"""All samples of the corpus. Usage: python -m tests.corpus.run FOLDER

Makes every sample with ffmpeg in FOLDER and compares what nasion reads and writes with what ffprobe and ffmpeg see. The
report goes to docs/bench/corpus.json, from which docs/scripts/figures.py makes the table of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nasion.tools.machine import provenance
from nasion.tools.terminal.progress import Progress

from .check import check
from .samples import SAMPLES, Sample, make, version
from .worker import Failed, Worker

REPORT = Path(__file__).resolve().parents[2] / "docs" / "bench" / "corpus.json"
_SECONDS = 120.0


def run(folder: Path, samples: Iterable[Sample], progress: Progress | None = None) -> Iterator[dict[str, Any]]:
    """Make and check samples, one after the other, and yield their results."""
    with Worker(check, seconds=_SECONDS) as worker:
        for sample in samples:
            path = make(sample, folder)
            try:
                result = asdict(worker(path, folder / "annotated.mp4", sample.kind))
            except Failed as failed:
                result = {"name": sample.name, "kind": sample.kind, "faults": [str(failed)]}
            yield result
            if progress is not None:
                if result["faults"]:
                    progress.print(f"{sample.name}: {'; '.join(result['faults'])}")
                progress.advance()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with Progress("corpus", len(SAMPLES), "samples") as progress:
        results = list(run(folder, SAMPLES, progress))
    report = provenance("python -m tests.corpus.run FOLDER") | {"ffmpeg": version(), "samples": results}
    REPORT.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
