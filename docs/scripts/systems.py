"""Run all systems on video, through the public commands. Usage: python docs/scripts/systems.py CLIP

There are two clips: the clip of ``nasion demo``, and CLIP, in which one face fills most of the image. The default
network and the shipped networks of the papers track both clips, and are timed on the first one. Writes
docs/bench/systems.json and, from the first clip, docs/images/systems.jpg.
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
from reports import BENCH, ROOT
from studies import nasion

from nasion.realtime.sources import open_source
from nasion.realtime.values.arrays import FloatArray, Image
from nasion.tools.machine import machine, versions

Faces = Sequence[dict[str, Any]]

TIMED = ("--device", "cpu", "--threads", "1", "--repeat", "1", "--frames", "150")
EYES = (36, 45)  # outer corners
MOMENTS = (20, 150, 205, 225, 260)  # frames of the demo clip that the image shows


SYSTEMS = {  # name -> title; the first one is the default network
    "landmarks-68": "default",
    "rdfn": "RDFN",
    "chs": "CHS",
    "rht": "RHT",
    "pwc": "PWC",
    "sd-hrnet": "SD-HRNet",
}


@dataclass(frozen=True, slots=True)
class Tracked:
    """Tracking results of a clip.

    Attributes:
        frames: number of frames.
        with_a_face: number of frames with a face.
        identities: number of different face IDs.
        apart: mean distance of the landmarks from those of the default network, relative to its outer eye distance.
    """

    frames: int
    with_a_face: int
    identities: int
    apart: float

    @classmethod
    def of(cls, frames: Sequence[Faces], default: Sequence[Faces]) -> Tracked:
        """Count faces and compare landmarks; of several faces in a frame, the first one is compared."""
        both = [(_points(a), _points(b)) for a, b in zip(frames, default, strict=True) if a and b]
        apart = [np.linalg.norm(a - b, axis=1).mean() / np.linalg.norm(b[EYES[0]] - b[EYES[1]]) for a, b in both]
        identities = {face["id"] for face in chain(*frames)}
        return cls(len(frames), sum(map(bool, frames)), len(identities), round(float(np.mean(apart)), 4))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run all systems on video.")
    parser.add_argument("clip", type=Path, help="a video of one face that fills most of the image")
    close_up: Path = parser.parse_args().clip.resolve()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        nasion("demo", "--out", str(folder))
        clips = {"demo": folder / "clip.mp4", "close-up": close_up}
        default: dict[str, list[Faces]] = {}
        results, images = [], []
        for name, title in SYSTEMS.items():
            videos = {clip: folder / f"{name}-{clip}.mp4" for clip in clips}
            seen = {clip: _track(path, name, videos[clip]) for clip, path in clips.items()}
            default = default or seen
            images.append(_moments(title, videos["demo"]))
            tracked = {clip: asdict(Tracked.of(seen[clip], default[clip])) for clip in clips}
            results.append({"title": title, "model": name, "tracked": tracked, **_bench(clips["demo"], name, folder)})
    report = {
        "command": f"python docs/scripts/systems.py {close_up.name}",
        "sha256": hashlib.sha256(close_up.read_bytes()).hexdigest(),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "results": results,
    }
    (BENCH / "systems.json").write_text(json.dumps(report, indent=1) + "\n")
    cv2.imwrite(str(ROOT / "docs" / "images" / "systems.jpg"), np.vstack(images), [cv2.IMWRITE_JPEG_QUALITY, 80])


def _track(clip: Path, model: str, video: Path) -> list[Faces]:
    """Track a clip, write the annotated video, and return the faces of each frame."""
    lines = video.with_suffix(".jsonl")
    outputs = ("--landmarks", str(lines), "--out", str(video))
    nasion("track", str(clip), "--model", model, "--device", "cpu", *outputs)
    return [line["faces"] for line in map(json.loads, lines.read_text().splitlines()) if "faces" in line]


def _bench(clip: Path, model: str, folder: Path) -> Mapping[str, Any]:
    """Return the CPU time per frame in ms, end to end and in the networks, measured by ``nasion bench``."""
    file = folder / "bench.json"
    nasion("bench", str(clip), "--model", model, *TIMED, "--json", str(file), "--force")
    (result,) = json.loads(file.read_text())["results"]
    whole, within = (round(result["costs"][stage]["cpu"]["mean"], 2) for stage in ("end to end", "networks"))
    return {"cpu_ms": whole, "networks_ms": within, "found": round(result["found"], 4)}


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
