"""Frames and faces to write into sinks of every kind, and what a reader finds in the files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet

from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks import Header, Sinks, open_sinks
from nasion.realtime.sources import SourceInfo
from nasion.realtime.values.schemes import scheme_of

INFO = SourceInfo("clip", 64, 48, Fraction(25), None, None)
IMAGE_INFO = SourceInfo("face", 64, 48, Fraction(25), 1, 0.04)
LANDMARKS = (".jsonl", ".csv", ".parquet")
VIDEOS = (".mp4", ".mov", ".mkv")
IMAGES = (".png", ".jpg", ".jpeg")


def a_frame(index: int) -> Frame:
    return Frame(np.full((48, 64, 3), 40 + index % 200, np.uint8), index / 25, index)


def some_faces(count: int, points: int = 68, seed: int = 0) -> list[Face]:
    random = np.random.default_rng(seed)
    found = []
    for number in range(1, count + 1):
        xy = random.uniform(-10, 70, (points, 2)).astype(np.float32)
        box = np.concatenate([xy.min(0), xy.max(0)]).astype(np.float32)
        confidence = random.uniform(0, 1, points).astype(np.float32)
        found.append(Face(number, box, float(random.uniform()), xy, confidence))
    return found


Run = list[tuple[Frame, list[Face]]]


def a_run(counts: Sequence[int], points: int = 68) -> Run:
    return [(a_frame(i), some_faces(count, points, seed=i)) for i, count in enumerate(counts)]


def header_for(landmarks: int) -> Header:
    scheme = scheme_of(landmarks)
    return Header.of(INFO, scheme=scheme.name if scheme else "", landmarks=landmarks)


def open_for(path: Path, *, force: bool = False, landmarks: int = 68) -> Sinks:
    """The sink that goes with the suffix of ``path``."""
    if path.suffix in LANDMARKS:
        return open_sinks(landmarks=path, info=INFO, force=force, header=header_for(landmarks))
    return open_sinks(out=path, info=IMAGE_INFO if path.suffix in IMAGES else INFO, force=force)


def write(path: Path, run: Iterable[tuple[Frame, list[Face]]], *, force: bool = False) -> None:
    known = run if isinstance(run, list) else []
    landmarks = next((len(face.landmarks) for _, faces in known for face in faces), 68)
    with open_for(path, force=force, landmarks=landmarks) as sinks:
        for frame, faces in run:
            sinks.write(frame, faces)


def frames_in(path: Path) -> int:
    """Return the number of frames that a reader finds."""
    if path.suffix in LANDMARKS:
        return len(records_in(path))
    if path.suffix in IMAGES:
        assert cv2.imread(str(path)) is not None
        return 1
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def records_in(path: Path) -> list[dict[str, Any]]:
    """Return the records of a landmark file of any kind, as in JSON Lines."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()[1:]]
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            lines = (line for line in file if not line.startswith("#"))
            rows: list[dict[str, Any]] = [
                {name: json.loads(text) if text else None for name, text in row.items()}
                for row in csv.DictReader(lines)
            ]
    else:
        # float32 as decimals again: of pixels two, of all else four
        rows = [
            {
                name: round(value, 6 if name == "time" else 4) if isinstance(value, float) else value
                for name, value in row.items()
            }
            for row in pyarrow.parquet.read_table(path).to_pylist()
        ]
    records: list[dict[str, Any]] = []
    for row in rows:
        if not records or records[-1]["frame"] != row["frame"]:
            records.append({"frame": row["frame"], "time": row["time"], "faces": []})
        if row["id"] is not None:
            records[-1]["faces"].append(_face_of(row))
    return records


def _face_of(row: dict[str, Any]) -> dict[str, Any]:
    count = sum(name.startswith("confidence") for name in row)
    return {
        "id": row["id"],
        "box": [row[f"box_{name}"] for name in ("x0", "y0", "x1", "y1")],
        "score": row["score"],
        "landmarks": [[row[f"x{i}"], row[f"y{i}"]] for i in range(count)],
        "confidence": [row[f"confidence{i}"] for i in range(count)],
    }
