"""Training the face detector: pictures and boxes in, named losses out."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from ..engines.spec import Spec
from ..realtime.faces import FloatArray, Image
from ..realtime.geometry import invert, to_tensor, transform, warp
from . import augment
from .datasets import (
    SampleStream,
    TrainingData,
)
from .evaluation import ModuleRuntime, detect_faces, highest_scores
from .learner import Learner
from .losses import box_overlap, quality_focal
from .metrics import average_precision, recall_at
from .networks.face_detector import STRIDES, DetectorExport, FaceDetector, cell_centres

# WIDER's boxes begin at the hair line, the 68 points at the brows: by eye, on portraits drawn with both.
FOREHEAD = 0.24
SMALLEST = 9.0  # a face below this many pixels of the training picture is neither a face nor background


def face_box(points: FloatArray) -> FloatArray:
    """WIDER's kind of box (4,) from points (n, 2), NaN where not annotated."""
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    low[1] -= FOREHEAD * (high[1] - low[1])
    return np.concatenate([low, high]).astype(np.float32)


class DetectionSamples(SampleStream[tuple[Tensor, Tensor, Tensor]]):
    """Picture number i of an endless, reproducible stream: always the same for one seed.

    An item is a picture (3,S,S) in 0..1, its boxes (K,4) and, per box, whether it counts (K,).
    """

    def __init__(self, data: TrainingData, *, size: int = 256, seed: int = 0) -> None:
        """Draw from ``data``; pictures have ``size`` x ``size`` pixels."""
        super().__init__(seed)
        self.data, self.size = data, size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Picture, boxes, counts."""
        rng = self.generator(index)
        draw = rng.random()
        if draw < 0.52:
            image, boxes, invalid = self._crowd(rng)
        elif draw < 0.80:
            image, boxes, invalid = self._portrait(rng)
        else:
            image, boxes, invalid = self._nobody(rng)
        image = augment.look(rng, image, strength=0.7)
        boxes, counts = self._clip(boxes, invalid)
        tensor = to_tensor([image], (0, 0, 0), (255, 255, 255), rgb=True)[0]
        return torch.from_numpy(tensor), torch.from_numpy(boxes), torch.from_numpy(counts)

    def _window(self, rng: Generator, image: Image, *, at: FloatArray, scale: float) -> FloatArray:
        """Transform that shows ``image`` at ``scale`` with the place ``at`` somewhere inside; half are mirrored."""
        height, width = image.shape[:2]
        stretch = np.exp(rng.normal(0, 0.05))
        sx, sy = scale * stretch, scale / stretch
        to = rng.uniform(0.1, 0.9, 2) * self.size
        x, y = to[0] - at[0] * sx, to[1] - at[1] * sy
        # do not look beyond the picture further than it is smaller than the window
        x = np.clip(x, min(0, self.size - width * sx), max(0, self.size - width * sx))
        y = np.clip(y, min(0, self.size - height * sy), max(0, self.size - height * sy))
        matrix = np.array([[sx, 0, x], [0, sy, y]], np.float32)
        if rng.random() < 0.5:
            matrix[0] = -matrix[0]
            matrix[0, 2] += self.size - 1
        angle = rng.normal(0, 0.12) if rng.random() < 0.5 else 0.0
        turn = cv2.getRotationMatrix2D((self.size / 2 - 0.5, self.size / 2 - 0.5), np.degrees(angle), 1)
        turned: FloatArray = (turn @ np.vstack([matrix, [0, 0, 1]])).astype(np.float32)
        return turned

    def _crowd(self, rng: Generator) -> tuple[Image, FloatArray, FloatArray]:
        i = int(rng.integers(len(self.data.wider)))
        image, boxes, invalid = (
            self.picture(self.data.wider.files[i]),
            self.data.wider.boxes[i],
            self.data.wider.invalid[i],
        )
        if len(boxes) and rng.random() < 0.85:
            box = boxes[rng.integers(len(boxes))]
            wanted = np.exp(rng.uniform(np.log(13), np.log(235)))
            scale, at = float(np.clip(wanted / max(float((box[2:] - box[:2]).max()), 4.0), 0.3, 3.0)), _centre(box)
        else:  # what people stand among, which is what a detector mistakes for them
            scale, at = float(rng.uniform(0.5, 1.5)), rng.uniform(0, 1, 2).astype(np.float32) * image.shape[1::-1]
        matrix = self._window(rng, image, at=at, scale=scale)
        return warp(image, matrix, self.size), _map_boxes(boxes, matrix), invalid.astype(np.float32)

    def _portrait(self, rng: Generator) -> tuple[Image, FloatArray, FloatArray]:
        """A labelled portrait laid over a picture without a face, or over a flat shade."""
        chosen = self.data.faces[rng.choice(3, p=(0.4, 0.4, 0.2))]
        i = int(rng.integers(len(chosen)))
        image, box = self.picture(chosen.files[i]), face_box(chosen.points[i])
        wanted = rng.uniform(100, 250) if rng.random() < 0.5 else np.exp(rng.uniform(np.log(20), np.log(130)))
        scale = float(np.clip(wanted / (box[2:] - box[:2]).max(), 0.1, 2.5))
        matrix = self._window(rng, image, at=_centre(box), scale=scale)
        canvas, _, _ = self._nobody(rng)
        if rng.random() < 0.5:
            canvas[:] = rng.integers(0, 256) if rng.random() < 0.5 else 0
        inside = warp(np.full(image.shape, 255, np.uint8), matrix, self.size) > 127
        shown = np.where(inside, warp(image, matrix, self.size), canvas)
        return shown, _map_boxes(box[None], matrix), np.zeros(1, np.float32)

    def _nobody(self, rng: Generator) -> tuple[Image, FloatArray, FloatArray]:
        image = self.picture(self.data.negatives[rng.integers(len(self.data.negatives))])
        at = rng.uniform(0, 1, 2).astype(np.float32) * image.shape[1::-1]
        matrix = self._window(rng, image, at=at, scale=float(np.exp(rng.uniform(np.log(0.7), np.log(2.5)))))
        return warp(image, matrix, self.size), np.zeros((0, 4), np.float32), np.zeros(0, np.float32)

    def _clip(self, boxes: FloatArray, invalid: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Boxes cut at the picture's border; those that are too small or mostly outside do not count."""
        clipped = np.clip(boxes, -0.5, self.size - 0.5)
        extent, whole = clipped[:, 2:] - clipped[:, :2], (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        seen = extent.prod(axis=1) / np.maximum(whole, 1e-6)
        there = (extent.min(axis=1) > 2) & (seen > 0.1)
        counts = (invalid == 0) & (extent.max(axis=1) >= SMALLEST) & (seen > 0.35)
        return clipped[there].astype(np.float32), counts[there].astype(np.float32)


def _centre(boxes: FloatArray) -> FloatArray:
    """Centres (..., 2) of boxes (..., 4)."""
    return (boxes[..., :2] + boxes[..., 2:]) * np.float32(0.5)


def _map_boxes(boxes: FloatArray, matrix: FloatArray) -> FloatArray:
    """Boxes (k,4) moved by a transform; turned ones keep their size."""
    if not len(boxes):
        return np.zeros((0, 4), np.float32)
    centres = transform(_centre(boxes), matrix)
    back = invert(matrix)
    scale = 1 / np.sqrt(abs(np.linalg.det(back[:, :2])))
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * scale
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)


Batch = tuple[Tensor, list[Tensor], list[Tensor]]


def collate(items: list[tuple[Tensor, Tensor, Tensor]]) -> Batch:
    """Stack the pictures; boxes stay lists, since pictures hold different numbers."""
    images, boxes, counts = zip(*items, strict=True)
    return torch.stack(images), list(boxes), list(counts)


def grid_of(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Centres (N,2) and strides (N,) of all cells of an input of that size, in the network's order."""
    centres = [cell_centres(height // s, width // s, s, device) for s in STRIDES]
    strides = [torch.full((len(c),), float(s), device=device) for c, s in zip(centres, STRIDES, strict=True)]
    return torch.cat(centres), torch.cat(strides)


@torch.no_grad()
def assign(
    boxes: Tensor, scores: Tensor, truth: Tensor, centres: Tensor, strides: Tensor, *, top: int = 9
) -> tuple[Tensor, Tensor]:
    """Task-aligned assignment (TOOD, Feng et al. 2021) for one picture.

    Args:
        boxes, scores: (N,4) predictions and (N,) probabilities.
        truth: (K,4) boxes.
        centres, strides: the grid.
        top: cells per face at most.

    Returns:
        index (N,) of the face each cell stands for, -1 for none, and its target quality (N,).
    """
    index = torch.full((len(centres),), -1, device=centres.device)
    quality = torch.zeros(len(centres), device=centres.device)
    if not len(truth):
        return index, quality
    overlap, _ = box_overlap(boxes[None], truth[:, None])  # (K,N)
    # a face smaller than a cell may hold no centre: within one stride of its own centre counts as inside
    middle, half = (truth[:, :2] + truth[:, 2:]) / 2, (truth[:, 2:] - truth[:, :2]) / 2
    reach = torch.maximum(half[:, None], strides[None, :, None])
    inside = ((centres[None] - middle[:, None]).abs() < reach).all(dim=2)
    alignment = (scores[None].clamp_min(1e-3) ** 0.5) * (overlap.clamp_min(1e-3) ** 4) * inside
    chosen = torch.zeros_like(inside)
    chosen.scatter_(1, alignment.topk(min(top, alignment.shape[1]), dim=1).indices, True)
    chosen &= inside
    share = alignment * chosen
    share = share / share.amax(dim=1, keepdim=True).clamp_min(1e-9)
    target = share * (overlap * chosen).amax(dim=1, keepdim=True)
    best, owner = (overlap * chosen).max(dim=0)
    taken = chosen.any(dim=0) & (best >= 0)
    index[taken] = owner[taken]
    quality[taken] = target[owner[taken], taken.nonzero().squeeze(1)]
    return index, quality


def detection_losses(model: FaceDetector, batch: Batch) -> dict[str, Tensor]:
    """Quality focal loss on all cells and generalised IoU on those that stand for a face."""
    images, truths, counts = batch
    boxes, logits = model(images)
    centres, strides = grid_of(images.shape[2], images.shape[3], images.device)
    score_loss = box_loss = logits.sum() * 0
    total = logits.new_tensor(0.0)
    for i, (truth, count) in enumerate(zip(truths, counts, strict=True)):
        counted, ignored = truth[count > 0], truth[count == 0]
        index, quality = assign(boxes[i], logits[i].sigmoid(), counted, centres, strides)
        weight = torch.where((index < 0) & _within(centres, ignored), 0.0, 1.0)
        score_loss = score_loss + (quality_focal(logits[i], quality) * weight).sum()
        chosen = index >= 0
        if chosen.any():
            _, generalised = box_overlap(boxes[i][chosen], counted[index[chosen]])
            box_loss = box_loss + ((1 - generalised) * quality[chosen]).sum()
            total = total + quality[chosen].sum()
    norm = total.clamp_min(1.0)
    return {"score": score_loss / norm, "box": 2 * box_loss / norm}


def _within(centres: Tensor, boxes: Tensor) -> Tensor:
    """Which centres (N,2) lie inside any of boxes (K,4)."""
    low, high = centres[None] > boxes[:, None, :2], centres[None] < boxes[:, None, 2:]
    return (low & high).all(dim=2).any(dim=0)


class DetectorLearner(Learner):
    """The face detector in training."""

    def __init__(self, network: FaceDetector, spec: Spec, shifts: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        """Train ``network``; it is exported with ``shifts``."""
        super().__init__()
        self.network, self.spec, self.shifts = network, spec, shifts

    def losses(self, batch: Batch, turn: str) -> dict[str, Tensor]:
        """See ``detection_losses``."""
        return detection_losses(self.network, batch)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``boxes`` (B,N,4) and ``scores`` (B,N)."""
        out: dict[str, Tensor] = self.exported()(images)
        return out

    def exported(self) -> DetectorExport:
        """The network as it is shipped."""
        return DetectorExport(self.network, self.shifts)


def validate_detector(learner: nn.Module, spec: Spec, data: TrainingData) -> dict[str, float]:
    """Average precision (IoU 0.5, faces of 24 px and more) and false alarms on the held-out part of the training data.

    ``missed_precision`` is 1 less the average precision, the figure to minimise.
    """
    assert isinstance(learner, DetectorLearner)
    with ModuleRuntime(DetectorExport(learner.network), spec) as runtime:
        results = detect_faces(runtime, data.wider)
        alarms = highest_scores(runtime, data.negatives)
    precision = average_precision(results)
    return {
        "average_precision": round(precision, 4),
        "missed_precision": round(1 - precision, 4),
        "recall": round(recall_at(results, spec.threshold), 4),
        "false_alarms": round(float((alarms >= spec.threshold).mean()), 4),
    }
