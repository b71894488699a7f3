"""Evaluation on held-out faces: the views are where they are said to be, and a perfect tracker has no error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.tracking.aligner import Alignments
from nasion.realtime.values.arrays import FloatArray, Image
from nasion.realtime.values.geometry import Region, box_of
from nasion.trainers.data import TrainingData, read_image
from nasion.trainers.evaluation.held_out import (
    ANGLES,
    CLOSE_UP,
    SHARES,
    cut_out,
    evaluate_close_ups,
    evaluate_infants,
    evaluate_shifted_regions,
    rotated,
)

from ...support.data_sets.labelled import face_shape, write_data, write_faces, write_pts

Views = Callable[[Image, FloatArray], Iterator[tuple[Image, FloatArray]]]
CENTRE = 30
"""Landmark at which the test images have a white dot."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_data(tmp_path_factory.mktemp("data"))
    faces = root / "infants" / "train"
    for i, points in enumerate(write_faces(np.random.default_rng(1), faces, 13, 96)):
        write_pts(faces / f"face{i:02}.pts", points)
    contexts = root / "aflw68" / "context"
    points = write_faces(np.random.default_rng(2), contexts, 13, 96)
    names = np.array([f"face{i:02}" for i in range(13)])
    np.savez(
        root / "aflw68" / "context.npz", name=names, yaw=np.zeros(13, np.float32), points=points,
        visibility=np.full(points.shape[:2], 2, np.uint8),
    )  # fmt: skip
    return root


class Oracle:
    """Stands in for the tracker: knows the landmarks of every view, and finds no face in every ``miss``-th image."""

    def __init__(self, root: Path, views: Views, *sets: str, miss: int = 0) -> None:
        self.miss, self.seen, self.known = miss, 0, {}
        for data in TrainingData.read(root)[1].faces:
            for file, points in zip(data.files, data.points, strict=True):
                if data.name in sets:
                    self.known |= {image.tobytes(): shown for image, shown in views(read_image(file), points)}

    def reset(self) -> None:
        self.seen += 1

    def update(self, frame: Frame) -> list[Face]:
        if self.miss and self.seen % self.miss == 0:
            return []
        points = self.known[frame.image.tobytes()]
        return [Face(1, box_of(points), 1.0, points, np.ones(68, np.float32))]  # type: ignore[arg-type]


def test_babies_are_shown_at_every_angle(data: Path) -> None:
    tracker = Oracle(data, rotated, "infants", miss=len(ANGLES))
    figures = evaluate_infants(tracker, data)  # type: ignore[arg-type]
    assert figures["faces"] == tracker.seen > 0
    assert figures["nme_percent"] < 1e-3
    assert figures["not_found_by_view_percent"] == [0] * (len(ANGLES) - 1) + [100]
    assert figures["not_found_percent"] == pytest.approx(100 / len(ANGLES), abs=0.01)


def test_close_ups_are_those_of_two_sets(data: Path) -> None:
    tracker = Oracle(data, cut_out, "300w", "aflw68-context")
    figures = evaluate_close_ups(tracker, data)  # type: ignore[arg-type]
    assert set(figures) == {"300w", "aflw68-context"}
    for part in figures.values():
        assert part["not_found_percent"] == 0
        assert part["nme_percent"] < 1e-3
        assert part["faces"] % len(SHARES) == 0


@pytest.mark.parametrize("views", [rotated, cut_out])
def test_landmarks_stay_on_the_image(views: Views) -> None:
    points = (face_shape() * 20 + [60, 50]).astype(np.float32)
    image = np.zeros((100, 120, 3), np.uint8)
    cv2.circle(image, tuple(int(v) for v in points[CENTRE].round()), 2, (255, 255, 255), -1)
    for shown, mapped in views(image, points):
        y, x = np.argwhere(shown[..., 0] > 127).mean(axis=0)
        scale = np.ptp(mapped[:, 0]) / np.ptp(points[:, 0]) if views is cut_out else 1
        assert np.hypot(*(mapped[CENTRE] - [x, y])) < 1.5 * scale


def test_a_close_up_has_the_named_size() -> None:
    points = (face_shape() * 20 + [60, 50]).astype(np.float32)
    extents = [np.ptp(mapped, axis=0).max() for _, mapped in cut_out(np.zeros((100, 120, 3), np.uint8), points)]
    assert extents == pytest.approx([share * CLOSE_UP for share in SHARES], rel=1e-4)


class Halving:
    """Stands in for the aligner: its landmarks follow the region by half of its displacement."""

    def align(self, image: Image, regions: list[Region]) -> Alignments:
        exact = regions[0]
        halved = [Region((r.x + exact.x) / 2, (r.y + exact.y) / 2, (r.side + exact.side) / 2) for r in regions]
        points = np.stack([face_shape() * r.side / 4 + [r.x, r.y] for r in halved]).astype(np.float32)
        ones = np.ones((len(regions), 68), np.float32)
        return Alignments(points, ones, ones[:, 0], np.zeros((len(regions), 4), np.float32), halved)


def test_movement_falls_with_every_look(data: Path) -> None:
    figures = evaluate_shifted_regions(Halving(), 1.2, data)  # type: ignore[arg-type]
    moved = [figures[f"movement_{look}_percent"] for look in ("at_once", "second_look", "third_look")]
    assert moved == pytest.approx([moved[0], moved[0] / 2, moved[0] / 4], rel=0.01)
    assert moved[0] > 1
