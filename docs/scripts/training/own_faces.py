"""Fine-tuning with few images, next to training from scratch: 100 faces of WFLW with a new scheme of 20 landmarks.

The faces are those of WFLW that no training of ours has seen. 100 are for training, of which 10 are held out, and 200
for the test. Each training has 10 minutes of one core. Writes docs/bench/own-faces.json:

    python docs/scripts/training/own_faces.py --data DATA --runs RUNS

A folder in RUNS that holds a training that has ended is not trained again. With ``--only NAME``, the figures of the
other trainings stay as they are.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from nasion.tools.machine import provenance
from nasion.trainers.data.readers.pools import held_out_wflw

HERE = Path(__file__).resolve().parent
RESULT = HERE.parent.parent / "bench" / "own-faces.json"
MINUTES = "10"
RUNS = {
    "accurate, fine-tuned": ("--start", "accurate"),
    "accurate, from scratch": ("--start", "none", "--network", "accurate"),
    "landmarks-68, fine-tuned": ("--start", "landmarks-68"),
    "landmarks-68, from scratch": ("--start", "none", "--network", "landmarks-68"),
}
"""Network of each training, and where its weights come from."""
LANDMARKS = (0, 8, 16, 24, 32, 33, 37, 42, 46, 54, 57, 60, 64, 68, 72, 76, 79, 82, 85, 51)
"""Landmarks of WFLW's 98: jaw, ends of the brows, nose, corners of the eyes, mouth, root of the nose."""
SCHEME = """name = "wflw-20"
points = 20
mirror = [[0, 4], [1, 3], [5, 8], [6, 7], [11, 14], [12, 13], [15, 17]]
edges = [[0, 1, 2, 3, 4], [5, 6], [7, 8], [19, 9, 10], [11, 12], [13, 14], [15, 16, 17, 18, 15]]
normaliser = [11, 14]

[parts]
left_eye = [11, 12]
right_eye = [13, 14]
mouth = [15, 16, 17, 18]
"""


def write_faces(data: Path, runs: Path) -> None:
    """Write every third of the held-out faces for training, the others for the test, each with a ``.pts`` file."""
    table = np.load(data / "wflw98" / "labels.npz")
    images = {path.stem: path for path in (data / "wflw98" / "images").iterdir()}
    names = [str(name) for name in table["name"]]
    chosen = [i for i, name in enumerate(names) if name in held_out_wflw()]
    for part, numbers in (("own", chosen[::3]), ("own-test", [i for k, i in enumerate(chosen) if k % 3])):
        folder = runs / part
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for i in numbers:
            shutil.copy(images[names[i]], folder)
            rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in table["points98"][i][list(LANDMARKS)] + 1)
            text = f"version: 1\nn_points: {len(LANDMARKS)}\n{{\n{rows}\n}}\n"
            (folder / f"{names[i]}.pts").write_text(text)
    (runs / "scheme.toml").write_text(SCHEME)


def nasion(*words: str | Path) -> None:
    """Run a command of nasion."""
    subprocess.run([sys.executable, "-m", "nasion", *map(str, words)], check=True)


def main() -> None:
    """Train, evaluate and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds wflw98")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the faces and the runs")
    parser.add_argument("--only", choices=RUNS, nargs="*", default=list(RUNS))
    given = parser.parse_args()
    write_faces(given.data, given.runs)
    results = json.loads(RESULT.read_text())["results"] if RESULT.is_file() else {}
    for name in given.only:
        run = given.runs / name.replace(", ", "-").replace(" ", "-")
        measured = run.with_suffix(".json")
        if not (run / "card.json").is_file():
            budget = ("--minutes", MINUTES, "--steps", "100000", "--clock", "cpu", "--threads", "1")
            scheme = ("--scheme", given.runs / "scheme.toml", "--validate-every", "100")
            nasion("train", "landmarks", "--data", given.runs / "own", *scheme, *RUNS[name], "--out", run, *budget)
        nasion("evaluate", "own", "--model", run, "--data", given.runs / "own-test", "--json", measured, "--force")
        reports = [json.loads(line) for line in (run / "record.jsonl").read_text().splitlines()]
        last = [report for report in reports if report["kind"] == "validate"][-1]
        about = {"steps": last["step"], "seconds_of_cpu": last["seconds"]}
        results[name] = about | json.loads(measured.read_text())["measured"]["own"]
    results = {name: results[name] for name in RUNS if name in results}
    found = provenance("python docs/scripts/training/own_faces.py --data DATA --runs RUNS") | {"results": results}
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{RESULT} holds the figures")


if __name__ == "__main__":
    main()
