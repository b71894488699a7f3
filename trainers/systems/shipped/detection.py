"""Training of the shipped face detector: learner, losses and validation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ....engines.spec import Spec
from ...data import TrainingData
from ...evaluation.tracking import ModuleRuntime, detect_faces, highest_scores
from ...learner import Learner
from ...losses import box_overlap, quality_focal
from ...metrics import average_precision, recall_at
from ...networks.face_detector import STRIDES, DetectorExport, FaceDetector, cell_centres
from .detection_samples import Batch


def grid_of(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the centres (N,2) and strides (N,) of all cells of an input of that size, in the network's order."""
    centres = [cell_centres(height // s, width // s, s, device) for s in STRIDES]
    strides = [torch.full((len(c),), float(s), device=device) for c, s in zip(centres, STRIDES, strict=True)]
    return torch.cat(centres), torch.cat(strides)


@torch.no_grad()
def assign(
    boxes: Tensor, scores: Tensor, truth: Tensor, centres: Tensor, strides: Tensor, *, top: int = 9
) -> tuple[Tensor, Tensor]:
    """Assign the faces of one image to cells by task-aligned assignment (TOOD, Feng et al. 2021).

    Args:
        boxes, scores: (N,4) predictions and (N,) probabilities.
        truth: (K,4) true boxes.
        centres, strides: grid of cells, as returned by ``grid_of``.
        top: maximum number of cells per face.

    Returns:
        index (N,) of the face assigned to each cell, -1 for none, and the target quality (N,) of the cell.
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
    """Return the quality focal loss on all cells, and the generalised IoU and roll losses on assigned cells."""
    images, truths, counts, rolls = batch
    boxes, logits, vectors = model.with_roll(images)
    centres, strides = grid_of(images.shape[2], images.shape[3], images.device)
    score_loss = box_loss = roll_loss = logits.sum() * 0
    total = logits.new_tensor(0.0)
    for i, (truth, count, roll) in enumerate(zip(truths, counts, rolls, strict=True)):
        counted, ignored = truth[count > 0], truth[count == 0]
        index, quality = assign(boxes[i], logits[i].sigmoid(), counted, centres, strides)
        weight = torch.where((index < 0) & _within(centres, ignored), 0.0, 1.0)
        score_loss = score_loss + (quality_focal(logits[i], quality) * weight).sum()
        chosen = index >= 0
        if chosen.any():
            _, generalised = box_overlap(boxes[i][chosen], counted[index[chosen]])
            box_loss = box_loss + ((1 - generalised) * quality[chosen]).sum()
            wanted = roll[count > 0][index[chosen]]
            error = (vectors[i][chosen] - wanted).square().sum(dim=1)
            roll_loss = roll_loss + (error * quality[chosen] * wanted.any(dim=1)).sum()
            total = total + quality[chosen].sum()
    norm = total.clamp_min(1.0)
    return {"score": score_loss / norm, "box": 2 * box_loss / norm, "roll": 0.2 * roll_loss / norm}


def _within(centres: Tensor, boxes: Tensor) -> Tensor:
    """Return a mask (N,) of the centres (N,2) that lie inside any of the boxes (K,4)."""
    low, high = centres[None] > boxes[:, None, :2], centres[None] < boxes[:, None, 2:]
    return (low & high).all(dim=2).any(dim=0)


class DetectorLearner(Learner):
    """Learner of the face detector.

    Attributes:
        is_folded: True if its normalisations were folded into convolutions and need their statistics back.
    """

    def __init__(self, network: FaceDetector, spec: Spec, shifts: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        """Train ``network``; the exported detector applies ``shifts`` to the logits of each stride."""
        super().__init__()
        self.network, self.spec, self.shifts = network, spec, shifts
        self.is_folded = False

    def losses(self, batch: Batch, objective: str) -> dict[str, Tensor]:
        """Return the losses of a batch; see ``detection_losses``."""
        return detection_losses(self.network, batch)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``boxes`` (B,N,4) and ``scores`` (B,N)."""
        out: dict[str, Tensor] = self.exported()(images)
        return out

    def exported(self) -> DetectorExport:
        """Return the network as it is shipped."""
        return DetectorExport(self.network, self.shifts)


def validate_detector(learner: nn.Module, spec: Spec, data: TrainingData) -> dict[str, float]:
    """Return average precision, recall and false alarms on the held-out part of the training data.

    Average precision is at IoU 0.5 over faces of 24 px and more. ``missed_precision`` is 1 minus the average precision,
    the figure to minimise.
    """
    assert isinstance(learner, DetectorLearner)
    with ModuleRuntime(DetectorExport(learner.network), spec) as runtime:
        results = detect_faces(runtime, data.wider)
        alarms = highest_scores(runtime, data.negatives)
    precision = average_precision(results)
    figures = {
        "average_precision": round(precision, 4),
        "missed_precision": round(1 - precision, 4),
        "recall": round(recall_at(results, spec.threshold), 4),
    }
    return figures | ({"false_alarms": round(float((alarms >= spec.threshold).mean()), 4)} if len(alarms) else {})
