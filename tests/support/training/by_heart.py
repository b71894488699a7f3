"""Eight faces for a tiny network to learn by heart, and what it would score if it did not look at them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from nasion.trainers.data import LandmarkSet
from nasion.trainers.data.samples import FaceItem

from ..data_sets.labelled import cartoon


def eight_faces(folder: Path, *, landmarks: int = 68, size: int = 96) -> LandmarkSet:
    """Cartoons of eight looks as images of ``size`` pixels in ``folder``, with their points."""
    rng, files, points = np.random.default_rng(8), [], []
    for i in range(8):
        image, where = cartoon(rng, size, landmarks=landmarks)
        files.append(folder / f"{i}.png")
        cv2.imwrite(str(files[-1]), image)
        points.append(where)
    return LandmarkSet("eight", tuple(files), np.stack(points).astype(np.float32), np.zeros(8, np.float32))


class Repeated(Dataset[FaceItem]):
    """The faces of one batch over and over."""

    def __init__(self, batch: FaceItem) -> None:
        self.batch = batch

    def __getitem__(self, index: int) -> FaceItem:
        at = index % len(self.batch["image"])
        return {name: values[at] for name, values in self.batch.items()}  # type: ignore[return-value, attr-defined]

    def __len__(self) -> int:
        return 1 << 40


def distance(found: Tensor, points: Tensor) -> float:
    """Mean distance of ``found`` from ``points``, both (B,n,2), in their pixels."""
    return float((found - points).norm(dim=2).mean())


def blind_error(points: Tensor) -> float:
    """The least mean distance from ``points`` (B,n,2) of any answer that is the same for all of them.

    That answer has each landmark at its geometric median, found by Weiszfeld's iteration, which starts at the mean.
    """
    answer = points.mean(dim=0)
    for _ in range(50):
        nearness = 1 / (points - answer).norm(dim=2, keepdim=True).clamp_min(1e-3)
        answer = (nearness * points).sum(dim=0) / nearness.sum(dim=0)
    return distance(answer, points)


def assert_learned(found: Tensor, points: Tensor, *, within: float) -> None:
    """``found`` lies ``within`` so many pixels of ``points`` (B,n,2), and no answer in ignorance of the images would.

    Such an answer must err by three times as much at least.
    """
    blind, error = blind_error(points), distance(found, points)
    assert blind >= 3 * within, f"a constant answer errs by {blind:.2f} pixels: a bound of {within} proves nothing"
    assert error < within, f"{error:.2f} pixels; a constant answer errs by {blind:.2f}"
