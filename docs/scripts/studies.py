"""Run the studies of docs/models.md. Usage: python docs/scripts/studies.py --data DATA --runs RUNS [NAME …]

Each study is one ``nasion train`` within a budget of CPU minutes, and ``nasion evaluate-papers`` of the result. A
stopped study is resumed, and a study with a report is skipped. The report is ``docs/bench/studies/NAME.json``: command,
machine, versions, minutes, losses, and error on held-out and test faces. Without names, all studies run in this order.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports import STUDIES as REPORTS

from nasion.tools.machine import machine, versions
from nasion.trainers.training.record import read_record


@dataclass(frozen=True)
class Study:
    """One training run and its measurements.

    Attributes:
        name: name of the report and of the folder of the run.
        recipe: recipe of ``nasion train``.
        minutes: training minutes; None if ``--steps`` ends the run.
        options: options of ``nasion train``; ``{NAME}`` is the best checkpoint of another study.
        measures: options of ``nasion evaluate-papers``, one tuple per call. If empty, the run is not measured.
    """

    name: str
    recipe: str
    minutes: float | None
    options: tuple[str, ...] = ()
    measures: tuple[tuple[str, ...], ...] = ((),)


# Keep memory of large heat maps (tens of MB) between steps: a PWC variant then takes two thirds of the time.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
COST = ("--threads", "1", "--clock", "cpu")  # minutes of CPU time on one core, independent of other load


def _paper_size(recipe: str, *options: str, steps: int = 50) -> Study:
    """Return a study of a few steps at the size of the paper, with batches of two, to check that the loss falls."""
    return Study(f"full-{recipe}", recipe, None, ("--steps", str(steps), "--batch", "2", *options), ())


FACE = ("--size", "128", "--precision", "bf16")
TAUGHT = (*FACE, "--start", "{sd-hrnet-slim}", "--teacher", "{sd-hrnet-teacher}")
PAPER_FACE = ("--size", "256", "--precision", "bf16")
SMALL_PWC = ("--width", "0.125", "--size", "112", "--precision", "bf16")
EIGHTH = ("--width", "0.125", *FACE)
QUARTER = ("--width", "0.25", *FACE)
HALF = ("--width", "0.5", *FACE)
RHT = ("rht-trans-r", "rht-stm-msffm", "rht-htm-msffm", "rht-r")
MAPS = ("pwc-distribution", "pwc-heatmap", "pwc", "pwc-hybrid")
BOTH_WAYS = ((), ("--decoding", "soft_arg_max"))
IN_MASKS = ((), ("--masks",))
STUDIES = (
    Study("sd-hrnet-teacher", "sd-hrnet-teacher", 30, FACE, IN_MASKS),
    Study("sd-hrnet-supernet-first", "sd-hrnet-supernet", 11, FACE, IN_MASKS),
    Study("sd-hrnet-supernet", "sd-hrnet-supernet", 12, (*FACE, "--start", "{sd-hrnet-supernet-first}"), IN_MASKS),
    Study("sd-hrnet-slim", "sd-hrnet-slim", 20, (*FACE, "--budget", "600", "--start", "{sd-hrnet-supernet}"), IN_MASKS),
    Study("sd-hrnet-distil", "sd-hrnet-distil", 30, TAUGHT, IN_MASKS),
    Study("sd-hrnet-peer", "sd-hrnet-table6-peer", 30, TAUGHT, IN_MASKS),
    Study("sd-hrnet-none", "sd-hrnet-table6-none", 13, (*FACE, "--start", "{sd-hrnet-slim}"), IN_MASKS),
    Study("sd-hrnet-256", "sd-hrnet-table6-none", 90, (*PAPER_FACE, "--start", "{sd-hrnet-none}"), IN_MASKS),
    *(Study(name, name, 10, SMALL_PWC) for name in ("pwc-direct", "pwc-direct-disc", "pwc-dan", "pwc-dan-disc")),
    *(Study(f"{head}{end}", f"{head}{end}", 10, SMALL_PWC, BOTH_WAYS) for head in MAPS for end in ("", "-disc")),
    *(Study(recipe, recipe, 22, EIGHTH) for recipe in ("chs-awing", "chs-sf", "chs")),
    *(Study(recipe, recipe, 60, ("--steps", "2000", *HALF), IN_MASKS) for recipe in RHT),  # same number of steps
    *(
        Study(f"{recipe}-on", recipe, 120, ("--steps", "4000", *HALF, "--start", f"{{{recipe}}}"), IN_MASKS)
        for recipe in ("rht-trans-r", "rht-r")
    ),
    Study("rdfn-detector", "rdfn-detector", 7, QUARTER, ()),
    Study("rdfn", "rdfn", 12, (*QUARTER, "--start", "{rdfn-detector}"), ((), ("--detector", "own"))),
    *(_paper_size(recipe) for recipe in ("sd-hrnet-teacher", "pwc-direct", "pwc-dan")),
    _paper_size("sd-hrnet-supernet", "--minutes", "60"),  # else its first pass of 185 steps trains the factors only
    _paper_size("pwc-hybrid-disc", steps=150),  # a hundred of them train the network
    *(_paper_size(recipe) for recipe in ("chs", "rdfn", "rht-r", "rht-h")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the studies of docs/models.md.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--trained", action="store_true", help="measure the runs as they are, without training")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    known = {study.name: study for study in STUDIES}
    if unknown := set(given.names) - set(known):
        sys.exit(f"no study is called {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    for name in given.names or known:
        if not (REPORTS / f"{name}.json").is_file():
            run(known[name], given.data, given.runs, trained=given.trained)


def run(study: Study, data: Path, runs: Path, *, trained: bool) -> None:
    """Train or resume a study, then measure it and write its report."""
    folder, data = runs / study.name, data.resolve()
    options = [option.format_map(_Checkpoints()) for option in study.options]
    minutes = [] if study.minutes is None else ["--minutes", f"{study.minutes:g}"]
    train = [study.recipe, *COST, *minutes, *options]
    if not trained:
        runs.mkdir(parents=True, exist_ok=True)
        nasion("train", *train, "--data", str(data), "--out", study.name, within=runs)  # checkpoints store the paths
    measured: dict[str, Any] = {}
    for by in study.measures:
        file = folder / "evaluated.json"
        nasion(
            "evaluate-papers", "300w", *by, "--data", str(data), "--model", str(folder), "--json", str(file), "--force"
        )
        told_of = json.loads(file.read_text())["measured"]
        measured |= {" by ".join([name, *by[1:]]): condensed(each) for name, each in told_of.items()}
    shown = " ".join([study.recipe, *COST, *minutes, *study.options])
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = {
        "study": study.name,
        "command": f"nasion train {shown} --data DATA",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": {**versions(), "torch": _torch()},
        **progress_of(read_record(folder / "record.jsonl")),
        "checkpoint": described(folder / "best.pt"),
        "measured": measured,
    }
    (REPORTS / f"{study.name}.json").write_text(json.dumps(report, indent=1) + "\n")


def described(checkpoint: Path) -> dict[str, Any]:
    """Return size and SHA-256 of the weights, which identify copies kept elsewhere."""
    content = checkpoint.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def condensed(measured: dict[str, Any]) -> dict[str, Any]:
    """Return the inter-ocular and inter-pupil results of ``nasion evaluate-papers``, without those of single seeds."""
    figures = {
        norm: {part: {name: value["mean"] for name, value in row.items()} for part, row in subsets.items()}
        for norm, subsets in measured["norms"].items()
        if norm in ("io", "ip")
    }
    return {"crops": measured["crops"], **figures, "published": measured["published"]}


def progress_of(record: list[dict[str, Any]]) -> dict[str, Any]:
    """Return length, loss curve and errors on held-out faces from the record of a run."""
    batch = record[0]["schedule"]["batch"]
    trained = [line for line in record if line["kind"] == "train"]
    validated = [line for line in record if line["kind"] == "validate"]
    last = max(record, key=lambda line: line.get("step", 0))["step"]
    aside = {
        "kind",
        "at",
        "step",
        "seconds",
        "learning_rate",
        "turn",
        "discriminator",
    }  # not losses of the network
    curve = [[line["step"], _total(line, aside)] for line in trained]
    return {
        "steps": last,
        "samples": last * batch,
        "minutes": round(max(line["seconds"] for line in record if "seconds" in line) / 60, 1),
        "loss_curve": curve,
        "validation_curve": [
            {name: value for name, value in line.items() if name not in {"kind", "at", "seconds"}} for line in validated
        ],
    }


def _total(line: dict[str, Any], aside: set[str]) -> float:
    return round(sum(value for name, value in line.items() if name not in aside and isinstance(value, float)), 6)


class _Checkpoints(dict[str, str]):
    """Mapping from the name of a study to its best checkpoint, relative to the folder of runs."""

    def __missing__(self, name: str) -> str:
        return f"{name}/best.pt"


def nasion(*arguments: str, within: Path | None = None) -> None:
    """Run a nasion command on one thread, in the folder ``within``; raise an error if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | KEEP_MEMORY
    subprocess.run([sys.executable, "-m", "nasion.tools.main", *arguments], check=True, env=environment, cwd=within)


def _torch() -> str:
    import importlib.metadata

    return importlib.metadata.version("torch")


if __name__ == "__main__":
    main()
