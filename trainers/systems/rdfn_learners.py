"""What RDFN's halves learn from: labels of anchors, classes of map cells, and the learners of the paper's phases."""

from __future__ import annotations

import torch
from torch import Tensor

from ...engines.spec import Spec
from ..data.samples import FaceItem
from ..learner import Learner
from ..losses import box_overlap, masked_mean, pixel_cross_entropy, rpn_class, smooth_l1
from ..networks.rdfn import RDFN, RegionDetector, RegionLandmarks, encode_boxes
from ..networks.region_head import MAP, logits_at
from ..targets import class_map
from .whole_pictures import PictureItem

FACE, NO_FACE = 0.7, 0.3  # IoU at which an anchor stands for a face, and below which for none (Faster R-CNN)
FACES = 0.25  # share of its face's anchors in a picture's loss; a dozen of the 256 drawn by Faster R-CNN are too few
RADIUS = 2.0  # cells: a single one would leave reweighting nothing to weigh
FOREGROUND = 10.0  # weight of a landmark's cells over background's, of which there are fifteen times as many
CELLS_DRAWN = 2048  # cells of a score map that a step looks at; 68 landmarks own 884 at most


# --- losses


def label_anchors(anchors: Tensor, boxes: Tensor, present: Tensor) -> Tensor:
    """What each anchor (N,4) stands for in each picture: 1 its face, 0 no face, -1 neither.

    Args:
        anchors: (N, 4).
        boxes: (B, 4), one a picture.
        present: (B,) 0 for pictures without a face.

    Returns:
        (B, N) int64. The best anchor always stands for the face.
    """
    overlap, _ = box_overlap(anchors, boxes[:, None])
    overlap = overlap * present[:, None]
    best = (overlap >= overlap.amax(dim=1, keepdim=True)) & (overlap > 0)
    labels = torch.full_like(overlap, -1, dtype=torch.int64)
    labels[overlap < NO_FACE] = 0
    labels[best | (overlap >= FACE)] = 1
    return labels


def anchor_weight(labels: Tensor) -> Tensor:
    """Weight of each anchor (B,N) in the loss of its picture: all faces together ``FACES`` of it, if there is one.

    Faster R-CNN draws anchors for this; the mean over all draws has no chance in it and looks at every anchor.
    """
    face, none = labels == 1, labels == 0
    faces, nones = face.sum(dim=1, keepdim=True), none.sum(dim=1, keepdim=True)
    share = FACES * (faces > 0)
    return face * share / faces.clamp_min(1) + none * (1 - share) / nones.clamp_min(1)


def detection_losses(outputs: tuple[Tensor, Tensor, Tensor], boxes: Tensor, present: Tensor) -> dict[str, Tensor]:
    """``class`` and ``box`` from the detection head's outputs, as in Faster R-CNN."""
    logits, deltas, anchors = outputs
    labels = label_anchors(anchors, boxes, present)
    classes = (rpn_class(logits, labels) * anchor_weight(labels)).sum(dim=1).mean()
    face = (labels == 1).to(deltas.dtype)
    off = smooth_l1(deltas - encode_boxes(boxes[:, None], anchors)).sum(dim=2)
    return {"class": classes, "box": masked_mean(torch.where(face > 0, off, 0), face)}


def landmark_loss(network: RegionLandmarks, taps: list[Tensor], rois: Tensor, points: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy of the cells of the score maps in rois (B,R,4), with points (B,n,2) and ``known`` (B,n).

    All cells of landmarks count, and of the background as many as are left of ``CELLS_DRAWN``, which stand for all of
    it: the same mean as over all cells, in a fifth of the time.
    """
    coarse = network.head.coarse(network.regions(taps, rois))
    cells = network.to_cells(points[:, None], rois).flatten(0, 1)
    classes = class_map(cells, MAP, MAP, radius=RADIUS, known=known.repeat_interleave(rois.shape[1], dim=0)).flatten(1)
    places = (torch.rand(classes.shape, device=classes.device) + (classes > 0)).topk(CELLS_DRAWN, dim=1).indices
    drawn = classes.gather(1, places)
    stands_for = (classes == 0).sum(dim=1, keepdim=True) / (drawn == 0).sum(dim=1, keepdim=True).clamp_min(1)
    losses = pixel_cross_entropy(logits_at(coarse, places)[..., None].float(), drawn[..., None])[..., 0]
    return masked_mean(losses, torch.where(drawn > 0, FOREGROUND, stands_for))


# --- learners


class DetectorLearner(Learner):
    """Phase 1: backbone and boxes."""

    def __init__(self, network: RegionDetector, spec: Spec) -> None:
        """Train ``network``."""
        super().__init__()
        self.network, self.spec = network, spec

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``boxes`` (B,K,4) in pixels and ``scores`` (B,K)."""
        found: dict[str, Tensor] = self.network(images)
        return found

    def losses(self, batch: PictureItem, turn: str) -> dict[str, Tensor]:
        """``class`` and ``box``."""
        taps = self.network.features(batch["image"])
        return detection_losses(self.network.detector(taps[-1]), batch["box"], batch["present"])


class RDFNLearner(Learner):
    """Phase 2: the landmarks, with all else as it is (``frozen``) or with everything else."""

    def __init__(self, network: RDFN, spec: Spec, *, frozen: bool) -> None:
        """Train ``network``."""
        super().__init__()
        self.network, self.spec, self.frozen = network, spec, frozen
        if frozen:
            network.backbone.requires_grad_(False)
            network.detector.requires_grad_(False)

    def train(self, mode: bool = True) -> RDFNLearner:
        """Switch to training; what is frozen keeps its statistics too."""
        super().train(mode)
        if self.frozen:
            self.network.backbone.eval()
            self.network.detector.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Faces: see ``RDFN.forward``."""
        found: dict[str, Tensor] = self.network(images)
        return found

    def losses(self, batch: PictureItem, turn: str) -> dict[str, Tensor]:
        """``class``, ``box`` (unless frozen) and ``landmarks``."""
        taps = self.network.features(batch["image"])
        found = landmark_loss(self.network, taps, batch["rois"], batch["points"], batch["known"])
        if self.frozen:
            return {"landmarks": found}
        detected = detection_losses(self.network.detector(taps[-1]), batch["box"], batch["present"])
        return {**detected, "landmarks": found}


class HeadLearner(Learner):
    """Backbone and landmark head on crops, each holding a face in the square in its middle."""

    def __init__(self, network: RegionLandmarks, spec: Spec) -> None:
        """Train ``network``."""
        super().__init__()
        self.network, self.spec = network, spec

    def boxes(self, images: Tensor) -> Tensor:
        """The squares (B,1,4) in which crops (B,3,S,S) hold their faces, pixels."""
        size = images.shape[-1]
        middle, half = (size - 1) / 2, size / self.spec.crop_margin / 2
        box = images.new_tensor([middle - half, middle - half, middle + half, middle + half])
        return box.expand(images.shape[0], 1, 4)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``points`` (B,n,2) in crop pixels and ``confidence`` (B,n)."""
        points, confidence = self.network.locate(self.network.features(images), self.boxes(images))
        return {"points": points[:, 0], "confidence": confidence[:, 0]}

    def losses(self, batch: FaceItem, turn: str) -> dict[str, Tensor]:
        """``landmarks``."""
        images = batch["image"]
        taps = self.network.features(images)
        loss = landmark_loss(self.network, taps, self.boxes(images), batch["points"], batch["known"])
        return {"landmarks": loss}
