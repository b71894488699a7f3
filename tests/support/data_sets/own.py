"""Labelled faces as users have them: cartoons in each format that is read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np

from nasion.realtime.values.arrays import FloatArray

from .labelled import cartoon

TWENTY = (0, 4, 8, 12, 16, 17, 21, 22, 26, 27, 30, 33, 36, 39, 42, 45, 48, 51, 54, 57)
"""Landmarks of the 68 that form a scheme of twenty."""
FIVE = (37, 44, 30, 48, 54)
SCHEME_20 = """
name = "cartoon-20"
points = 20
mirror = [[0, 4], [1, 3], [5, 8], [6, 7], [12, 15], [13, 14], [16, 18]]
edges = [[0, 1, 2, 3, 4], [16, 17, 18, 19, 16]]
normaliser = [12, 15]

[parts]
left_eye = [12, 13]
right_eye = [14, 15]
mouth = [16, 17, 18, 19]
"""
SCHEME_5 = """
name = "five"
points = ["left eye", "right eye", "nose", "left corner", "right corner"]
mirror = [["left eye", "right eye"], ["left corner", "right corner"]]
normaliser = "box"
"""


def own_images(folder: Path, count: int, points: tuple[int, ...], *, seed: int = 3, size: int = 96) -> FloatArray:
    """Write ``count`` images, clip-a_0.jpg …, and return the points (count, n, 2) of their faces."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, every = np.random.default_rng(seed), []
    for i in range(count):
        image, placed = cartoon(rng, size)
        cv2.imwrite(str(folder / f"clip-{'abc'[i % 3]}_{i}.jpg"), image)
        every.append(placed[list(points)])
    return np.stack(every)


def names_of(count: int) -> list[str]:
    return [f"clip-{'abc'[i % 3]}_{i}" for i in range(count)]


def write_own_pts(folder: Path, count: int = 14, points: tuple[int, ...] = TWENTY, *, seed: int = 3) -> FloatArray:
    placed = own_images(folder, count, points, seed=seed)
    for name, face in zip(names_of(count), placed, strict=True):
        rows = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in face)
        (folder / f"{name}.pts").write_text(f"version: 1\nn_points: {len(face)}\n{{\n{rows}\n}}\n")
    return placed


def write_own_coco(folder: Path, count: int = 6, points: tuple[int, ...] = FIVE) -> FloatArray:
    placed = own_images(folder / "images", count, points)
    images = [
        {"id": i + 7, "file_name": f"{name}.jpg", "shoot": f"day {i % 2}"} for i, name in enumerate(names_of(count))
    ]
    annotations = []
    for i, face in enumerate(placed):
        low, high = face.min(axis=0), face.max(axis=0)
        rows = [[float(x), float(y), 2] for x, y in face]
        rows[0] = [0, 0, 0]
        rows[1][2] = 1
        box = [float(v) for v in (*(low + 0.5), *(high - low))]
        annotations.append({"image_id": i + 7, "keypoints": [v for row in rows for v in row], "bbox": box})
    (folder / "labels.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return placed


def write_own_csv(folder: Path, count: int = 6, points: tuple[int, ...] = FIVE) -> FloatArray:
    placed = own_images(folder, count, points)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        table.writerow(["image", *(f"{axis}{i}" for i in range(len(points)) for axis in "xy"), "person"])
        for i, (name, face) in enumerate(zip(names_of(count), placed, strict=True)):
            cells = [f"{value:.4f}" for value in face.ravel()]
            cells[2:4] = ["", ""]
            table.writerow([f"{name}.jpg", *cells, f"person {i % 2}"])
    return placed
