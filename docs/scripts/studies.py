"""Run the comparisons of docs/models.md. Usage: python docs/scripts/studies.py --data DATA --runs RUNS [NAME …]

Each study is one ``nasion train`` on one thread, behind all other work of the machine, then ``nasion evaluate-papers``
of the result. The studies of a system have equally many steps of the network. A stopped study is resumed, and a study
with a report of the recipe's current version is skipped. The report is ``docs/bench/studies/NAME.json``: command,
version of the recipe, machine, versions, minutes, losses, and error on held-out and test faces. Without names, all
studies run in this order; they take about 20 hours of a core. ``--seed 1`` runs a study again with another seed, as
``NAME-seed-1``.

``docs/bench/studies-first`` holds the reports of the first version of the recipes.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reports import STUDIES as REPORTS

from nasion.tools.machine import machine, versions
from nasion.trainers.systems import recipe_named
from nasion.trainers.training.record import read_record


@dataclass(frozen=True)
class Study:
    """One training run and its measurements.

    Attributes:
        name: name of the report and of the folder of the run.
        recipe: recipe of ``nasion train``.
        steps: steps of the network; 0 measures the network of ``--start``.
        options: options of ``nasion train``; ``{NAME}`` is the best checkpoint of another study.
        measures: options of ``nasion evaluate-papers``, one tuple per call.
    """

    name: str
    recipe: str
    steps: int
    options: tuple[str, ...] = ()
    measures: tuple[tuple[str, ...], ...] = ((),)

    @property
    def all_steps(self) -> int:
        """Steps in all: some recipes train other parts in between."""
        if self.recipe.endswith("-disc"):
            return self.steps * 3 // 2  # one of three is the discriminator's
        if "supernet" in self.recipe or "-fig6-" in self.recipe:
            return self.steps * 4 // 3  # four of sixteen are the factors'
        return self.steps

    @property
    def command(self) -> list[str]:
        """Words of ``nasion train``, without data and folder."""
        return [self.recipe, "--threads", "1", "--brief", "--steps", str(self.all_steps), *self.options]


# Keep memory of large heat maps (tens of MB) between steps: a PWC variant then takes two thirds of the time.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
BF16 = ("--precision", "bf16")  # twice as fast on CPUs with avx512_bf16
BOTH_WAYS = ((), ("--decoding", "soft_arg_max"))
BY_PEAK_AND_MASKED = ((), ("--decoding", "arg_max"), ("--detector", "face-detector"), ("--masks",))
REFERRED = (("--references", "300w"), ("--masks",))


def pwc() -> tuple[Study, ...]:
    """Table 2 and section 5.1, with and without a discriminator, and the variants as printed."""
    options = ("--width", "0.125", "--size", "112", *BF16)
    points, maps = ("pwc-direct", "pwc-dan"), ("pwc-distribution", "pwc-heatmap", "pwc-heatmap-height-1")
    maps += ("pwc", "pwc-hybrid", "pwc-mean", "pwc-hybrid-mean")
    return tuple(
        Study(f"{head}{end}", f"{head}{end}", 2400, options, BOTH_WAYS if head in maps else ((),))
        for head in (*points, *maps)
        for end in ("", "-disc")
    )


def rdfn() -> tuple[Study, ...]:
    """Figure 5, the readings of the fusion, and the paper's augmentation; all from one detector."""
    options = ("--width", "0.25", "--size", "128", *BF16)
    names = ("rdfn-baseline", "rdfn-gca", "rdfn-gsa", "rdfn-wff", "rdfn", "rdfn-counts", "rdfn-two-units", "rdfn-paper")
    trained = (*options, "--start", "{rdfn-detector}")
    return (
        Study("rdfn-detector", "rdfn-detector", 1200, options, ()),
        *(Study(name, name, 2000, trained, ((), ("--detector", "own"))) for name in names),
    )


def chs() -> tuple[Study, ...]:
    """Tables 6 to 9 with one hourglass, and a cascade grown from ``chs-sf``."""
    options = ("--width", "0.125", "--size", "128", "--stacks", "1", *BF16)
    table_6 = ("awing", "sf", "plain-unweighted", "plain-adaptive", "plain-fixed", "plain", "adaptive", "fixed", "2ccr")
    others = ("6ccr", "cbam", "sk", "sdfl", "unguided", "sdfl-guided", "task", "full")
    names = [f"chs-{each}" for each in (*table_6, *others)]
    return (
        *(Study(name, name, 2000, options) for name in (*names, "chs")),
        Study("chs-grown", "chs", 2000, (*options, "--start", "{chs-sf}")),
        *(
            Study(f"{name}-maps", "chs-0ccr", 0, (*options, "--start", f"{{{name}}}"))  # table 8: error of the maps
            for name in ("chs", "chs-task", "chs-full", "chs-grown")
        ),
    )


def rht() -> tuple[Study, ...]:
    """Table VIII and the guided matches, from one trained start, and tables VI and VII on the test set."""
    options = ("--width", "0.5", "--size", "128", *BF16)
    begun = (*options, "--start", "{rht-start}")
    names = ("rht-stm", "rht-stm-msffm", "rht-htm-msffm", "rht-r", "rht-r-guided")
    return (
        Study("rht-start", "rht-trans-r", 2000, options),
        Study("rht-trans-r", "rht-trans-r", 6000, begun, ((), ("--masks",))),
        *(Study(name, name, 6000, begun, REFERRED) for name in names),
    )


def sd_hrnet() -> tuple[Study, ...]:
    """Tables 2, 3 and 6 with their controls."""
    face = ("--size", "128", *BF16)
    slim, taught = ("--start", "{sd-hrnet-slim}"), ("--teacher", "{sd-hrnet-teacher}")
    measures = BY_PEAK_AND_MASKED
    return (
        Study("sd-hrnet-teacher", "sd-hrnet-teacher", 2000, face, measures),
        Study("sd-hrnet-supernet", "sd-hrnet-supernet", 2400, face, measures),
        Study("sd-hrnet-supernet-on", "sd-hrnet-supernet", 2400, (*face, "--start", "{sd-hrnet-supernet}"), measures),
        Study(
            "sd-hrnet-slim",
            "sd-hrnet-slim",
            2400,
            (*face, "--budget", "600", "--start", "{sd-hrnet-supernet}"),
            measures,
        ),
        Study("sd-hrnet-table6-none", "sd-hrnet-table6-none", 2000, (*face, *slim), measures),
        Study("sd-hrnet-masks-only", "sd-hrnet-masks-only", 2000, (*face, *slim), measures),
        *(
            Study(name, name, 2000, (*face, *slim, *taught), measures)
            for name in ("sd-hrnet-table6-teacher", "sd-hrnet-table6-peer", "sd-hrnet-distil")
        ),
    )


STUDIES = (*pwc(), *rdfn(), *chs(), *rht(), *sd_hrnet())


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the comparisons of docs/models.md.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--precision",
        choices=("bf16", "fp32"),
        default="bf16",
        help="fp32 on a CPU without avx512_bf16; use one for all studies of a system",
    )
    parser.add_argument("--list", action="store_true", help="print the commands instead of running them")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    known = {study.name: study for study in STUDIES}
    if unknown := set(given.names) - set(known):
        sys.exit(f"no study is called {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    chosen = [_with(known[name], given.seed, given.precision) for name in given.names or known]
    if given.list:
        print("\n".join(f"{study.name}: nasion train {' '.join(study.command)}" for study in chosen))
        return
    os.nice(19 - os.nice(0))
    for study in chosen:
        if not done(study):
            run(study, given.data, given.runs)


def _with(study: Study, seed: int, precision: str) -> Study:
    """Return the study with another seed, from the checkpoints of seed 0, in ``precision``."""
    options = tuple(precision if option == "bf16" else option for option in study.options)
    if not seed:
        return replace(study, options=options)
    return replace(study, name=f"{study.name}-seed-{seed}", options=(*options, "--seed", str(seed)))


def done(study: Study) -> bool:
    """Return True if there is a report of the current version of the recipe."""
    file = REPORTS / f"{study.name}.json"
    return file.is_file() and json.loads(file.read_text())["recipe_version"] == recipe_named(study.recipe).version


def run(study: Study, data: Path, runs: Path) -> None:
    """Train or resume a study, then measure it and write its report."""
    folder, data = runs / study.name, data.resolve()
    train = [option.format_map(_Checkpoints()) for option in study.command]
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
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = {
        "study": study.name,
        "command": f"nasion train {' '.join(study.command)} --data DATA",
        "recipe_version": recipe_named(study.recipe).version,
        "network_steps": study.steps,
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
    referred = {"references": measured["references"]} if "references" in measured else {}
    return {"crops": measured["crops"], **figures, **referred, "published": measured["published"]}


def progress_of(record: list[dict[str, Any]]) -> dict[str, Any]:
    """Return length, loss curve and errors on held-out faces from the record of a run."""
    batch = record[0]["schedule"]["batch"]
    trained = [line for line in record if line["kind"] == "train"]
    validated = [line for line in record if line["kind"] == "validate"]
    last = max(record, key=lambda line: line.get("step", 0))["step"]
    aside = {"kind", "at", "step", "seconds", "learning_rate", "discriminator"}  # not losses of the network
    curve = [[line["step"], _total(line, aside)] for line in trained]
    notes = [
        {name: value for name, value in line.items() if name not in {"kind", "at", "seconds"}}
        for line in record
        if line["kind"] == "notes"
    ]
    return {
        "steps": last,
        "samples": last * batch,
        "minutes": round(max(line["seconds"] for line in record if "seconds" in line) / 60, 1),
        "loss_curve": curve,
        **({"notes": notes} if notes else {}),
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
