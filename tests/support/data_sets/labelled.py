"""A labelled data set in miniature, drawn by ourselves: the layouts are the published ones, the faces are cartoons.

It proves readers, sampling, training and evaluation where the real data is absent.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from nasion.realtime.values.arrays import FloatArray, Image

PARTS_300W = ("helen/trainset", "lfpw/trainset", "afw", "helen/testset")


@dataclass(frozen=True, slots=True)
class Look:
    """Differences of a face from the plain one, which has 0 everywhere; values from -1 to 1.

    ``brows`` raised; ``eyes`` apart and ``lids`` open; ``nose`` long; ``mouth`` wide, ``lips`` open and a ``smile``;
    ``jaw`` wide and ``chin`` long; the head with a ``turn`` to the right of the image and a ``roll`` clockwise.
    """

    brows: float = 0.0
    eyes: float = 0.0
    lids: float = 0.0
    nose: float = 0.0
    mouth: float = 0.0
    lips: float = 0.0
    smile: float = 0.0
    jaw: float = 0.0
    chin: float = 0.0
    turn: float = 0.0
    roll: float = 0.0


def some_look(rng: Generator) -> Look:
    """A look that is plain in nothing: each value is at least half of the largest."""
    count = len(astuple(Look()))
    return Look(*(rng.choice([-1, 1], count) * rng.uniform(0.5, 1, count)).tolist())


def face_shape(landmarks: int = 68, look: Look | None = None) -> FloatArray:
    """The points (landmarks, 2) of a face in a unit square, or a little beyond it, in the order of their scheme.

    One ``look`` is the same face in all schemes; None: a plain, symmetric one.
    """
    rows: list[list[float]] = {19: _points_19, 21: _points_21, 29: _points_29}.get(landmarks, lambda: [])()
    plain = np.array(rows or _dense_points(landmarks), np.float32)
    return plain if look is None else _with_look(plain, look)


def _with_look(plain: FloatArray, look: Look) -> FloatArray:
    """Each point is moved with the part of the plain face on which it lies: scaled about a centre, and shifted."""
    x, y = plain.T
    jaw = ((x - 0.5) / 0.5) ** 2 + ((y - 0.3) / 0.7) ** 2 > 0.95
    parts = [jaw, y < 0.2, y > 0.62, np.abs(x - 0.5) < 0.125]  # jaw, brows, mouth, nose; what is left are the eyes
    side = np.where(x < 0.5, -1, 1)
    apart, bent = 0.05 * look.eyes * side, look.smile * (3 * (x - 0.5) ** 2 - 0.04)
    centre_x = np.select(parts, [0.5, x, 0.5, 0.5], 0.5 + 0.22 * side)
    centre_y = np.select(parts, [0.3, y, 0.75, 0.25], 0.28)
    wide = np.select(parts, [0.15 * look.jaw, 0, 0.3 * look.mouth, 0], 0)
    high = np.select(parts, [0.2 * look.chin, 0, 0.6 * look.lips, 0.25 * look.nose], 0.6 * look.lids)
    right = np.select(parts, [0, apart, 0, 0], apart) + np.where(jaw, 0, 0.08 * look.turn)
    down = np.select(parts, [0, -0.06 * look.brows, 0.08 * look.chin - bent, 0], 0)
    moved = np.stack([centre_x + (x - centre_x) * (1 + wide) + right, centre_y + (y - centre_y) * (1 + high) + down])
    cos, sin = np.cos(0.5 * look.roll), np.sin(0.5 * look.roll)
    turned = (moved.T - 0.5) @ np.array([[cos, sin], [-sin, cos]]) + 0.5
    return turned.astype(np.float32)


def _dense_points(landmarks: int) -> list[list[float]]:
    """68, 98 or 106 points: jaw, brows, nose, eyes, mouth, pupils."""
    fine = landmarks > 68
    brows = _brow(0.12, 1, fine=fine) + _brow(0.58, -1, fine=fine)
    bridge = [[0.5, y] for y in np.linspace(0.25, 0.5, 4)]
    nostrils = [[x, 0.57] for x in np.linspace(0.4, 0.6, 5)]
    flank = [[0.44, 0.3], [0.42, 0.42], [0.38, 0.54]]
    nose = flank + nostrils + [[1 - x, y] for x, y in reversed(flank)] if landmarks == 106 else nostrils
    eyes = [_ring(x, 0.28, 0.09, 0.04, 8 if fine else 6) for x in (0.28, 0.72)]
    if landmarks == 106:
        eyes = [[*eye, [x, 0.28]] for eye, x in zip(eyes, (0.28, 0.72), strict=True)]
    mouth = _ring(0.5, 0.75, 0.18, 0.08, 12) + _ring(0.5, 0.75, 0.12, 0.03, 8)
    pupils = [[0.28, 0.275], [0.72, 0.275]] if fine else []
    return [*_jaw(33 if fine else 17), *brows, *bridge, *nose, *eyes[0], *eyes[1], *mouth, *pupils]


def _jaw(count: int) -> list[list[float]]:
    turn = np.linspace(np.pi, 0, count)
    return np.stack([0.5 + 0.5 * np.cos(turn), 0.3 + 0.7 * np.sin(turn)], axis=1).tolist()


def _ring(x: float, y: float, width: float, height: float, count: int) -> list[list[float]]:
    """Points of an ellipse, from its left end over the top."""
    turn = np.pi + 2 * np.pi * np.arange(count) / count
    return np.stack([x + width * np.cos(turn), y + height * np.sin(turn)], axis=1).tolist()


def _brow(x: float, side: int, *, fine: bool) -> list[list[float]]:
    """Five points from left to right; if ``fine`` four more below, so that the brow's outline goes on clockwise."""
    upper = [[x + 0.075 * i, 0.12 - 0.04 * np.sin(np.pi * i / 4)] for i in range(5)]
    lower = [[a, b + 0.03] for a, b in reversed(upper[1:] if side > 0 else upper[:-1])]
    return upper + lower if fine else upper


def _points_19() -> list[list[float]]:
    points = _points_21()
    return [*points[:12], *points[13:16], *points[17:]]


def _points_21() -> list[list[float]]:
    """MinOptMax points a brow, eye, nose and mouth, both ears, chin."""
    brows = [[x + dx, 0.1] for x in (0.27, 0.73) for dx in (-0.15, 0, 0.15)]
    eyes = [[x + dx, 0.28] for x in (0.28, 0.72) for dx in (-0.09, 0, 0.09)]
    nose = [[0.01, 0.4], [0.4, 0.57], [0.5, 0.5], [0.6, 0.57], [0.99, 0.4]]
    return [*brows, *eyes, *nose, [0.32, 0.75], [0.5, 0.75], [0.68, 0.75], [0.5, 1.0]]


def _points_29() -> list[list[float]]:
    """COFW alternates between left and right."""
    left = {0: (0.12, 0.12), 2: (0.42, 0.12), 4: (0.27, 0.08), 5: (0.27, 0.13), 8: (0.19, 0.28), 10: (0.37, 0.28)}
    left |= {12: (0.28, 0.24), 13: (0.28, 0.32), 16: (0.28, 0.28), 18: (0.4, 0.57), 22: (0.32, 0.75)}
    right = {4: 6, 5: 7, 12: 14, 13: 15}
    middle = {20: 0.5, 21: 0.58, 24: 0.67, 25: 0.72, 26: 0.78, 27: 0.83, 28: 1.0}
    points = dict(left) | {i: (0.5, y) for i, y in middle.items()}
    points |= {right.get(i, i + 1): (1 - x, y) for i, (x, y) in left.items()}
    return [list(points[i]) for i in range(29)]


def draw_face(image: Image, points: FloatArray) -> None:
    """Paint a cartoon whose features lie at points (68,2)."""

    def polygon(rows: FloatArray, colour: tuple[int, int, int]) -> None:
        cv2.fillPoly(image, [np.round(rows * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)

    forehead = points[[26, 17]] + 0.25 * (points[27] - points[8])
    polygon(np.concatenate([points[:17], forehead]), (150, 180, 220))
    for part, colour in (
        (slice(36, 42), (250, 250, 250)),
        (slice(42, 48), (250, 250, 250)),
        (slice(48, 60), (60, 60, 190)),
    ):
        polygon(points[part], colour)
    for part in (slice(17, 22), slice(22, 27), slice(27, 31), slice(31, 36)):
        cv2.polylines(image, [np.round(points[part] * 16).astype(np.int32)], False, (40, 60, 80), 2, cv2.LINE_AA, 4)


def cartoon(rng: Generator, size: int, *, landmarks: int = 68) -> tuple[Image, FloatArray]:
    """An image of ``size`` pixels with one face of about half of it, and the face's points; no two look alike."""
    image, look = background(rng, size), some_look(rng)
    drawn = face_shape(68, look)
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    scale = np.float32(size * rng.uniform(0.4, 0.55) / (high - low).max())
    place = rng.uniform(0.2, 0.9, 2).astype(np.float32) * (np.float32(size) - scale * (high - low)) - scale * low
    draw_face(image, drawn * scale + place)
    return image, face_shape(landmarks, look) * scale + place


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
    """All sets of ../shared/data in miniature, ``each`` images per part. Returns ``root``."""
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
