"""Run all systems on video, through the public commands. Usage: python docs/systems.py CLIP

There are two clips: the clip of ``nasion demo``, and CLIP, in which one face fills most of the image. The shipped
network and the networks of the papers, from the checkpoints that their studies kept next to their reports, are exported
and track both clips. They are timed on the first clip with every CPU runtime. Writes docs/bench/systems.json and, from
the first clip, docs/systems.jpg.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from reports import BENCH, ROOT, STUDIES
from studies import nasion

from nasion.realtime.faces import FloatArray, Image
from nasion.realtime.sources import open_source
from nasion.tools.machine import machine, versions

Faces = Sequence[dict[str, Any]]

TIMED = ("--device", "cpu", "--threads", "1", "--repeat", "1", "--frames", "150")
EYES = (36, 45)  # outer corners
MOMENTS = (20, 150, 205, 225, 260)  # frames of the demo clip that the image shows


@dataclass(frozen=True, slots=True)
class System:
    """Network and its options on video.

    Attributes:
        title: title of its row.
        weights: checkpoint in docs/bench/studies, without suffix; empty for the shipped network.
        export: options of ``nasion export``.
        run: options of ``nasion track`` and ``nasion bench``.
    """

    title: str
    weights: str = ""
    export: tuple[str, ...] = ()
    run: tuple[str, ...] = ()


SHIPPED = System("shipped")
SYSTEMS = (
    SHIPPED,
    System("RDFN, whole", "rdfn"),
    System("RDFN, given boxes", "rdfn", run=("--detector", "face-detector")),
    System("RDFN, its head", "rdfn", export=("--head",)),
    System("CHS", "chs-sf"),
    System("RHT", "rht-r-on"),
    System("PWC", "pwc-distribution"),
    System("SD-HRNet, 128 px", "sd-hrnet-none"),
    System("SD-HRNet, 256 px", "sd-hrnet-256"),
)


@dataclass(frozen=True, slots=True)
class Tracked:
    """Tracking results of a clip.

    Attributes:
        frames: number of frames.
        with_a_face: number of frames with a face.
        identities: number of different face IDs.
        apart: mean distance of the landmarks from those of the shipped network, relative to its outer eye distance.
    """

    frames: int
    with_a_face: int
    identities: int
    apart: float

    @classmethod
    def of(cls, frames: Sequence[Faces], shipped: Sequence[Faces]) -> Tracked:
        """Count faces and compare landmarks; of several faces in a frame, the first one is compared."""
        both = [(_points(a), _points(b)) for a, b in zip(frames, shipped, strict=True) if a and b]
        apart = [np.linalg.norm(a - b, axis=1).mean() / np.linalg.norm(b[EYES[0]] - b[EYES[1]]) for a, b in both]
        identities = {face["id"] for face in chain(*frames)}
        return cls(len(frames), sum(map(bool, frames)), len(identities), round(float(np.mean(apart)), 4))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run all systems on video.")
    parser.add_argument("clip", type=Path, help="a video of one face that fills most of the image")
    close_up: Path = parser.parse_args().clip.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nasion("demo", "--out", str(folder))
        clips = {"demo": folder / "clip.mp4", "close-up": close_up}
        shipped: dict[str, list[Faces]] = {}
        results, pictures = [], []
        for number, system in enumerate(SYSTEMS):
            files = _export(system, folder / str(number))
            videos = {clip: folder / f"{number}-{clip}.mp4" for clip in clips}
            seen = {clip: _track(path, files["onnx"], system, videos[clip]) for clip, path in clips.items()}
            shipped = shipped or seen
            pictures.append(_moments(system.title, videos["demo"]))
            speeds = [_bench(clips["demo"], runtime, file, system, folder) for runtime, file in files.items()]
            tracked = {clip: asdict(Tracked.of(seen[clip], shipped[clip])) for clip in clips}
            results.append({**asdict(system), "tracked": tracked, "speeds": speeds})
    report = {
        "command": f"python docs/systems.py {close_up.name}",
        "sha256": hashlib.sha256(close_up.read_bytes()).hexdigest(),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "results": results,
    }
    (BENCH / "systems.json").write_text(json.dumps(report, indent=1) + "\n")
    cv2.imwrite(str(ROOT / "docs" / "systems.jpg"), np.vstack(pictures), [cv2.IMWRITE_JPEG_QUALITY, 80])


def _export(system: System, file: Path) -> Mapping[str, str]:
    """Export the network of a system, and return the file for each runtime."""
    if not system.weights:
        return {"onnx": "landmarks-68"}
    files = {"onnx": file.with_suffix(".onnx"), "torch": file.with_suffix(".pt2")}
    for each in files.values():
        nasion("export", str(STUDIES / f"{system.weights}.pt"), *system.export, "-o", str(each))
    return {runtime: str(each) for runtime, each in files.items()}


def _track(clip: Path, model: str, system: System, video: Path) -> list[Faces]:
    """Track a clip, write the annotated video, and return the faces of each frame."""
    lines = video.with_suffix(".jsonl")
    outputs = ("--landmarks", str(lines), "--out", str(video))
    nasion("track", str(clip), "--model", model, *system.run, "--device", "cpu", *outputs)
    return [line["faces"] for line in map(json.loads, lines.read_text().splitlines()) if "faces" in line]


def _bench(clip: Path, runtime: str, model: str, system: System, folder: Path) -> Mapping[str, Any]:
    """Return the CPU time per frame in ms, end to end and in the networks, measured by ``nasion bench``."""
    file = folder / "bench.json"
    how = ("--runtime", runtime, *system.run, *TIMED)
    nasion("bench", str(clip), "--model", model, *how, "--json", str(file), "--force")
    (result,) = json.loads(file.read_text())["results"]
    whole, within = (round(result["costs"][stage]["cpu"]["mean"], 2) for stage in ("end to end", "networks"))
    return {"runtime": runtime, "cpu_ms": whole, "networks_ms": within, "found": round(result["found"], 4)}


def _points(faces: Faces) -> FloatArray:
    return np.array(faces[0]["landmarks"], np.float32)[:, :2]


def _moments(title: str, video: Path) -> Image:
    """Return frames of an annotated video side by side, at half size."""
    with open_source(str(video)) as source:
        shown = [cv2.resize(frame.image, None, fx=0.5, fy=0.5) for frame in source if frame.index in MOMENTS]
    for shade, place in ((0, (9, 23)), (255, (8, 22))):
        cv2.putText(shown[0], title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (shade,) * 3, 1, cv2.LINE_AA)
    return np.hstack(shown)


if __name__ == "__main__":
    main()
