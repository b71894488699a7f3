"""A labelled data set in miniature, drawn by ourselves: the layouts are the published ones, the faces are cartoons.

It proves readers, sampling, training and evaluation where the real data is absent.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from nasion.realtime.faces import FloatArray, Image

PARTS_300W = ("helen/trainset", "lfpw/trainset", "afw", "helen/testset")


def face_shape() -> FloatArray:
    """68 points (68,2) of a plain face in a unit square."""
    turn = np.linspace(np.pi, 0, 17)
    jaw = np.stack([0.5 + 0.5 * np.cos(turn), 0.3 + 0.7 * np.sin(turn)], axis=1)
    brows = [
        [x, 0.12 - 0.04 * np.sin(np.pi * i / 4)]
        for x0 in (0.12, 0.58)
        for i, x in enumerate(np.linspace(x0, x0 + 0.3, 5))
    ]
    nose = [[0.5, y] for y in np.linspace(0.25, 0.5, 4)] + [[x, 0.57] for x in np.linspace(0.4, 0.6, 5)]
    eyes = [
        [x + 0.09 * np.cos(a), 0.28 + 0.04 * np.sin(a)]
        for x in (0.28, 0.72)
        for a in np.radians([180, 240, 300, 0, 60, 120])
    ]
    mouth = [[0.5 + 0.18 * np.cos(a), 0.75 + 0.08 * np.sin(a)] for a in np.radians(180 + 30 * np.arange(12))]
    inner = [[0.5 + 0.12 * np.cos(a), 0.75 + 0.03 * np.sin(a)] for a in np.radians(180 + 45 * np.arange(8))]
    return np.array([*jaw, *brows, *nose, *eyes, *mouth, *inner], np.float32)


def draw_face(image: Image, points: FloatArray) -> None:
    """Paint a cartoon whose features lie at points (68,2)."""

    def polygon(rows: FloatArray, colour: tuple[int, int, int]) -> None:
        cv2.fillPoly(image, [np.round(rows * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)

    forehead = points[[26, 17]] - [0, 0.25 * (points[8, 1] - points[27, 1])]
    polygon(np.concatenate([points[:17], forehead]), (150, 180, 220))
    for part, colour in (
        (slice(36, 42), (250, 250, 250)),
        (slice(42, 48), (250, 250, 250)),
        (slice(48, 60), (60, 60, 190)),
    ):
        polygon(points[part], colour)
    for part in (slice(17, 22), slice(22, 27), slice(27, 31), slice(31, 36)):
        cv2.polylines(image, [np.round(points[part] * 16).astype(np.int32)], False, (40, 60, 80), 2, cv2.LINE_AA, 4)


def cartoon(rng: Generator, size: int) -> tuple[Image, FloatArray]:
    """A picture of ``size`` pixels with one face of about half of it, and its points."""
    image = background(rng, size)
    side = size * rng.uniform(0.4, 0.55)
    points = face_shape() * side + rng.uniform(0.2, 0.9, 2).astype(np.float32) * np.float32(size - side)
    draw_face(image, points)
    return image, points


def background(rng: Generator, size: int) -> Image:
    """Coarse coloured texture."""
    coarse = rng.integers(0, 255, (6, 6, 3)).astype(np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def write_pts(path: Path, points: FloatArray) -> None:
    rows = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in points)
    path.write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")


def write_faces(rng: Generator, folder: Path, count: int, size: int) -> FloatArray:
    folder.mkdir(parents=True)
    every = []
    for i in range(count):
        image, points = cartoon(rng, size)
        cv2.imwrite(str(folder / f"face{i:02}.jpg"), image)
        every.append(points)
    return np.stack(every)


def write_data(root: Path, *, each: int = 13) -> Path:
    """All sets of ../shared/data in miniature, ``each`` pictures per part. Returns ``root``."""
    rng = np.random.default_rng(5)
    folders = [
        *(root / "300w" / part for part in PARTS_300W),
        *(root / "ytf68" / part for part in ("training", "test")),
    ]
    for folder in folders:
        for i, points in enumerate(write_faces(rng, folder, each, 96)):
            write_pts(folder / f"face{i:02}.pts", points)
    for part in ("train", "test"):
        points = write_faces(rng, root / "aflw68" / part, each, 96)
        points[:, :4] = np.nan  # a part of the jaw is self-occluded
        names = np.array([f"face{i:02}" for i in range(each)])
        yaw = np.linspace(-85, 85, each, dtype=np.float32)
        seen = np.where(np.isnan(points[..., 0]), 0, 2).astype(np.uint8)
        np.savez(root / "aflw68" / f"{part}.npz", name=names, yaw=yaw, points=points, visibility=seen)
        boxes = _face_boxes(write_faces(rng, root / "wider" / part / "e", each, 128))
        (root / "wider" / f"{part}_bbx_gt.txt").write_text(
            "".join(
                f"e/face{i:02}.jpg\n1\n{x:.1f} {y:.1f} {w:.1f} {h:.1f} 0 0 0 0 0 0\n"
                for i, (x, y, w, h) in enumerate(boxes)
            )
        )
        (root / "negatives" / part).mkdir(parents=True)
        for i in range(each):
            cv2.imwrite(str(root / "negatives" / part / f"{i:02}.jpg"), background(rng, 96))
    return root


def _face_boxes(points: FloatArray) -> FloatArray:
    low, high = points.min(axis=1), points.max(axis=1)
    low[:, 1] -= 0.2 * (high - low)[:, 1]
    return np.concatenate([low + 0.5, high - low], axis=1)
