"""Make the shipped networks of the papers, measure all shipped ones.

Usage: python docs/scripts/zoo.py [--data DATA] [NAME …]

A network of a paper is exported from the checkpoint that its study left in the history of this repository. Without
DATA, only the cost of the networks is measured. With it, the networks of the papers are exported, compared with
float32, and measured through the tracker. All results are in the model cards, engines/zoo/NAME.json.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from reports import FIRST, ROOT, read
from studies import nasion

from nasion.engines.runtime import Runtime
from nasion.engines.select import open_runtime
from nasion.engines.zoo import FOLDER, models
from nasion.tools.machine import machine, versions

COMMIT = "20e8a6e"
"""The last commit with checkpoints of studies, in docs/bench/studies."""

CALLS = 100


@dataclass(frozen=True, slots=True)
class System:
    """A shipped network of a paper.

    Attributes:
        study: report in docs/bench/studies-first, without suffix.
        about: what the network is, for its card.
        export: options of ``nasion export``.
        measured: result of the study for this network and its decoding.
    """

    study: str
    about: str
    export: tuple[str, ...] = ()
    measured: str = "300w"


SYSTEMS = {
    "rdfn": System(
        "rdfn", "RDFN, a quarter of its channels: the landmark head, on the face that a detector found", ("--head",)
    ),
    "chs": System("chs-sf", "CHS, an eighth of its channels: hourglasses with selective features"),
    "rht": System("rht-r-on", "RHT-R, half of its channels: reference heat maps transformed by a transformer"),
    "pwc": System(
        "pwc-distribution",
        "PWC, an eighth of its channels: pixelwise distributions, decoded by soft-argmax",
        ("--decoding", "soft_arg_max"),
        "300w by soft_arg_max",
    ),
    "sd-hrnet": System("sd-hrnet-256", "SD-HRNet, slimmed to 600 million multiply-accumulates, at 256 px"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make and measure the shipped networks.")
    parser.add_argument("--data", type=Path, help="folder of data sets, with 300w")
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks (default: all)")
    given = parser.parse_args()
    chosen = given.names or [*SYSTEMS, *(name for name in models() if name not in SYSTEMS)]
    for name in chosen:
        if given.data and name in SYSTEMS:
            make(name, SYSTEMS[name], given.data)
    costs(chosen)


def make(name: str, system: System, data: Path) -> None:
    """Export a network from its checkpoint, complete its card, and measure its error."""
    study, file = read(FIRST / f"{system.study}.json"), FOLDER / f"{name}.onnx"
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, full = Path(folder) / f"{system.study}.pt", Path(folder) / "fp32.onnx"
        checkpoint.write_bytes(kept(system.study, study["checkpoint"]["sha256"]))
        nasion("export", str(checkpoint), *system.export, "-o", str(full))
        nasion(
            "export", str(checkpoint), *system.export, "--store", "fp16", "-o", str(file), "--card", "--force"
        )  # fmt: skip
        stored = difference(full, file, data)
    card = read(file.with_suffix(".json"))
    card["about"] = system.about
    card["recipe"] |= {
        "command": study["command"],
        "export": " ".join(["nasion export CHECKPOINT", *system.export, "--store fp16"]),
        "checkpoint": study["checkpoint"]["sha256"],
        "study": f"docs/bench/studies-first/{system.study}.json",
        "study_nme_percent": round(study["measured"][system.measured]["io"]["helen"]["nme"], 3),
        "stored": stored,
    }
    write(name, card)
    nasion("evaluate", "300w", "--model", name, "--data", str(data), "--card", "--force")


def kept(study: str, sha256: str) -> bytes:
    """Return a checkpoint from the history."""
    path = f"{COMMIT}:docs/bench/studies/{study}.pt"
    content = subprocess.run(["git", "show", path], cwd=ROOT, check=True, capture_output=True).stdout
    assert hashlib.sha256(content).hexdigest() == sha256, path
    return content


def difference(full: Path, stored: Path, data: Path) -> dict[str, Any]:
    """Return the distance in pixels of the crop between the landmarks of two files of one network, on HELEN test."""
    from nasion.realtime.values.geometry import region_of_points, to_tensor, warp
    from nasion.trainers.data import read_image, read_set

    faces, apart = read_set("300w", data, part="test"), []
    with open_runtime(full, device="cpu") as one, open_runtime(stored, device="cpu") as other:
        spec = one.spec
        for image, points in zip(faces.files, faces.points, strict=True):
            crop = region_of_points(points, margin=spec.crop_margin).to_crop(spec.size[0])
            crops = [warp(read_image(image), crop, spec.size[0])]
            tensor = to_tensor(crops, spec.mean, spec.std, rgb=spec.channels == "rgb")
            apart.append(np.linalg.norm(one(tensor)["points"] - other(tensor)["points"], axis=2))
    shifted = np.concatenate(apart)
    return {
        "weights": "fp16",
        "against": "the same network with weights in fp32, pixels of the crop, 300W HELEN test",
        "mean_px": round(float(shifted.mean()), 5),
        "beyond_0.02_px_percent": round(100 * float((shifted > 0.02).mean()), 3),
        "largest_px": round(float(shifted.max()), 4),
    }


def costs(names: list[str]) -> None:
    """Measure the CPU time of the networks; they alternate, so that load on the machine affects all of them equally."""
    runtimes = {name: open_runtime(models()[name].path, threads=1, device="cpu") for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(CALLS):
        for name, runtime in runtimes.items():
            times[name].append(timed(runtime))
    for name, spent in times.items():
        measured = {
            "ms": round(float(np.min(spent)), 3),
            "ms_median": round(float(np.median(spent)), 3),
            "command": "python docs/scripts/zoo.py",
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "versions": versions(),
        }
        write(name, read(FOLDER / f"{name}.json") | {"cost": measured})


def timed(runtime: Runtime) -> float:
    """Return the CPU time in ms of one call on one image."""
    width, height = runtime.spec.size
    image = np.random.default_rng(0).random((1, 3, height, width), np.float32)
    runtime(image)
    begin = time.thread_time()
    runtime(image)
    return 1000 * (time.thread_time() - begin)


def write(name: str, card: dict[str, Any]) -> None:
    (FOLDER / f"{name}.json").write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
