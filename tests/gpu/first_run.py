"""All that is to be seen on an NVIDIA machine, in one go:

    python tests/gpu/first_run.py

Needs Python 3.11 and NVIDIA's driver; nvcc and a C++ compiler for the kernels. What else is missing is installed into
an environment inside the folder of the report, on top of the one in use; without a network it goes on with what is
there, even if that is only torch for CUDA. The folder (--out) holds the logs, the figures as JSON, and summary.json,
which is written after each part. A part is ``passed``, ``failed``, or ``skipped`` where the machine lacks something.
Each has its own time limit, so none takes the time of the others. Exits with 1 if a part failed or nothing ran on a
GPU. --parts chooses some, --minutes ends it sooner.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

sys.path.insert(0, str(Path(__file__).parent))  # started as a program, it belongs to no package
from first_run_parts import PARTS, Part
from first_run_place import Lacking, Place, Unfit


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a part: ``passed``, ``skipped`` or ``failed``, and the observation or the reason."""

    part: str
    state: str
    seconds: float
    told: str


def attempt(name: str, part: Part, place: Place, end: float) -> Outcome:
    """Run a part until ``end`` at most; whatever goes wrong in it ends neither the others nor the report."""
    begin = monotonic()
    place.end = min(end, begin + 60 * part.minutes)
    try:
        state, told = "passed", part(place)
    except Lacking as error:
        state, told = "skipped", str(error)
    except Unfit as error:
        state, told = "failed", str(error)
    except Exception as error:  # noqa: BLE001
        state, told = "failed", f"{type(error).__name__}: {error}"
    return Outcome(name, state, round(monotonic() - begin, 1), told)


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="All that is to be seen on an NVIDIA machine, in one go.")
    parser.add_argument("--out", type=Path, default=Path("gpu-report"), help="folder of the report (gpu-report)")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=30.0, help="after which what still runs is ended (30)")
    given = parser.parse_args(arguments)
    given.parts = given.parts.split(",")
    if unknown := [name for name in given.parts if name not in PARTS]:
        parser.error(f"--parts: {', '.join(unknown)} unknown; allowed: {', '.join(PARTS)}")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts, and write and print what came of them."""
    given = options(arguments)
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    end = monotonic() + 60 * given.minutes
    place = Place(out, sys.executable, end)
    outcomes: list[Outcome] = []
    for name in given.parts:
        print(f"{name} …", flush=True)
        outcomes.append(attempt(name, PARTS[name], place, end))
        print(f"{outcomes[-1].state} after {outcomes[-1].seconds:.0f} s: {outcomes[-1].told}\n", flush=True)
        (out / "summary.json").write_text(json.dumps([asdict(each) for each in outcomes], indent=1) + "\n")
    for each in outcomes:
        print(f"{each.part:12} {each.state}")
    print(f"{out} holds logs and figures")
    failed = any(each.state == "failed" for each in outcomes)
    sys.exit(failed or not any(PARTS[each.part].gpu and each.state == "passed" for each in outcomes))


if __name__ == "__main__":
    os.umask(0o022)
    main()
