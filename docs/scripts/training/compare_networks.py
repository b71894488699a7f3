"""Compare landmark runs.

Usage: python docs/scripts/training/compare_networks.py RUN RUN ... docs/bench/landmark-networks.json

Each RUN is a folder of ``nasion train``. The held-out error is read from the run. CPU time is measured here, on one
thread of ONNX Runtime; the networks alternate, so that load on the machine affects all of them equally.
"""

from __future__ import annotations

import datetime
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from nasion.engines.select import open_runtime
from nasion.tools.machine import machine, versions
from nasion.trainers.export.files import load_trained, write_model
from nasion.trainers.training.record import read_record

ROUNDS, CALLS = 20, 20


def main() -> None:
    *runs, out = (Path(argument) for argument in sys.argv[1:])
    trained = [load_trained(run / "best.pt") for run in runs]
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        runtimes = []
        for i, run in enumerate(trained):
            file = Path(folder) / f"{i}.onnx"
            write_model(run.network, run.spec, file)
            runtimes.append(stack.enter_context(open_runtime(file, threads=1)))
        crops = [np.random.default_rng(0).random((1, 3, *run.spec.size), np.float32) for run in trained]
        times: list[list[float]] = [[] for _ in runs]
        for _ in range(ROUNDS):
            for runtime, crop, spent in zip(runtimes, crops, times, strict=True):
                runtime(crop)
                for _ in range(CALLS):
                    begin = time.thread_time()
                    runtime(crop)
                    spent.append(1000 * (time.thread_time() - begin))
    report = {
        "command": "python docs/scripts/training/compare_networks.py RUN RUN docs/bench/landmark-networks.json",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "runs": [
            {
                "network": run.recipe.name,
                "crop": f"{run.spec.size[0]} px",
                "cpu_ms": round(float(np.min(spent)), 4),
                "cpu_ms_median": round(float(np.median(spent)), 4),
                "parameters": sum(p.numel() for p in run.network.parameters()),
                "steps": run.step,
                "minutes": max(r["seconds"] for r in read_record(path / "record.jsonl") if "seconds" in r) / 60,
                "validation": run.figures,
            }
            for run, spent, path in zip(trained, times, runs, strict=True)
        ],
    }
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
