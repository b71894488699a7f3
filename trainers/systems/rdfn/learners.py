"""Learners and losses of RDFN: anchor labels, classes of map cells, the paper's phases."""

from __future__ import annotations

import torch
from torch import Tensor

from ....engines.spec import Spec
from ...data.samples import FaceItem
from ...learner import Learner
from ...losses import box_overlap, masked_mean, pixel_cross_entropy, rpn_class, smooth_l1
from ...networks.rdfn.network import RDFN, RegionDetector, RegionLandmarks, encode_boxes
from ...networks.rdfn.region_head import MAP, logits_at
from ...targets import landmark_cells
from ..whole_images import ImageItem

FACE, NO_FACE = 0.7, 0.3  # IoU from which an anchor is positive, and below which it is negative (Faster R-CNN)
FACES = 0.25  # share of positive anchors in an image's loss; the dozen of 256 that Faster R-CNN draws are too few
RADIUS = 2.0  # cells per landmark; with a single cell, location reweighting would have nothing to average
FOREGROUND = 10.0  # weight of landmark cells relative to background cells, which are fifteen times as many
CELLS_DRAWN = 2048  # cells of a score map used in a step; 68 landmarks cover at most 884


# --- losses


def label_anchors(anchors: Tensor, boxes: Tensor, present: Tensor) -> Tensor:
    """Label each anchor in each image: 1 for the face, 0 for background, -1 for ignored.

    Args:
        anchors: (N, 4).
        boxes: (B, 4), one per image.
        present: (B,) 0 for images without a face.

    Returns:
        (B, N) int64. The anchor with the highest IoU is always labelled as the face.
    """
    overlap, _ = box_overlap(anchors, boxes[:, None])
    overlap = overlap * present[:, None]
    best = (overlap >= overlap.amax(dim=1, keepdim=True)) & (overlap > 0)
    labels = torch.full_like(overlap, -1, dtype=torch.int64)
    labels[overlap < NO_FACE] = 0
    labels[best | (overlap >= FACE)] = 1
    return labels


def anchor_weight(labels: Tensor) -> Tensor:
    """Return the weight (B,N) of each anchor in the loss of its image.

    Positive anchors have a total weight of ``FACES`` if the image has a face. Faster R-CNN draws anchors at random
    instead; these weights are the expectation over all draws, deterministic and over all anchors.
    """
    face, none = labels == 1, labels == 0
    faces, nones = face.sum(dim=1, keepdim=True), none.sum(dim=1, keepdim=True)
    share = FACES * (faces > 0)
    return face * share / faces.clamp_min(1) + none * (1 - share) / nones.clamp_min(1)


def detection_losses(outputs: tuple[Tensor, Tensor, Tensor], boxes: Tensor, present: Tensor) -> dict[str, Tensor]:
    """Return the losses ``class`` and ``box`` of the detection head's outputs, as in Faster R-CNN."""
    logits, deltas, anchors = outputs
    labels = label_anchors(anchors, boxes, present)
    classes = (rpn_class(logits, labels) * anchor_weight(labels)).sum(dim=1).mean()
    face = (labels == 1).to(deltas.dtype)
    off = smooth_l1(deltas - encode_boxes(boxes[:, None], anchors)).sum(dim=2)
    return {"class": classes, "box": masked_mean(torch.where(face > 0, off, 0), face)}


def landmark_loss(network: RegionLandmarks, taps: list[Tensor], rois: Tensor, points: Tensor, known: Tensor) -> Tensor:
    """Return the cross-entropy of the score map cells in rois (B,R,4), with points (B,n,2) and ``known`` (B,n).

    A cell of several landmarks is shared by them. All landmark cells are used. The rest of ``CELLS_DRAWN`` is drawn
    from the background and weighted to represent all of it, which gives the same expected mean as all cells in a fifth
    of the time.
    """
    coarse = network.head.coarse(network.regions(taps, rois))
    cells = network.to_cells(points[:, None], rois).flatten(0, 1)
    known = known.repeat_interleave(rois.shape[1], dim=0)
    owned, shares = landmark_cells(cells, MAP, MAP, radius=RADIUS, known=known)
    count, owned, shares = cells.shape[1], owned.flatten(1), shares.flatten(1)
    number = torch.arange(1, count + 1, device=cells.device).repeat_interleave(owned.shape[1] // count)
    taken = torch.zeros(len(cells), MAP * MAP, device=cells.device).scatter_add(1, owned, shares)
    chances = torch.rand(taken.shape, device=taken.device) - taken  # never a landmark cell
    drawn = chances.topk(max(1, CELLS_DRAWN - owned.shape[1]), dim=1).indices
    stands_for = (1 - taken).sum(dim=1, keepdim=True) / drawn.shape[1]
    classes = torch.cat([number.expand_as(owned), torch.zeros_like(drawn)], dim=1)
    weights = torch.cat([FOREGROUND * shares, stands_for.expand(drawn.shape)], dim=1)
    logits = logits_at(coarse, torch.cat([owned, drawn], dim=1))
    return masked_mean(pixel_cross_entropy(logits[..., None].float(), classes[..., None])[..., 0], weights)


# --- learners


class DetectorLearner(Learner):
    """Learner of phase 1: backbone and boxes."""

    def __init__(self, network: RegionDetector, spec: Spec) -> None:
        """Train ``network``."""
        super().__init__()
        self.network, self.spec = network, spec

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``boxes`` (B,K,4) in pixels and ``scores`` (B,K)."""
        found: dict[str, Tensor] = self.network(images)
        return found

    def losses(self, batch: ImageItem, objective: str) -> dict[str, Tensor]:
        """Return the losses ``class`` and ``box``."""
        taps = self.network.features(batch["image"])
        return detection_losses(self.network.detector(taps[-1]), batch["box"], batch["present"])


class RDFNLearner(Learner):
    """Learner of phase 2: landmarks only, with everything else ``frozen``, or all parts together."""

    def __init__(self, network: RDFN, spec: Spec, *, frozen: bool) -> None:
        """Train ``network``."""
        super().__init__()
        self.network, self.spec, self.frozen = network, spec, frozen
        if frozen:
            network.backbone.requires_grad_(False)
            network.detector.requires_grad_(False)

    def train(self, mode: bool = True) -> RDFNLearner:
        """Set the training mode; frozen parts stay in evaluation mode and keep their statistics."""
        super().train(mode)
        if self.frozen:
            self.network.backbone.eval()
            self.network.detector.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the faces; see ``RDFN.forward``."""
        found: dict[str, Tensor] = self.network(images)
        return found

    def losses(self, batch: ImageItem, objective: str) -> dict[str, Tensor]:
        """Return the losses ``class``, ``box`` (unless frozen) and ``landmarks``."""
        taps = self.network.features(batch["image"])
        found = landmark_loss(self.network, taps, batch["rois"], batch["points"], batch["known"])
        if self.frozen:
            return {"landmarks": found}
        detected = detection_losses(self.network.detector(taps[-1]), batch["box"], batch["present"])
        return {**detected, "landmarks": found}


class HeadLearner(Learner):
    """Learner of backbone and landmark head on crops, each with a face in its central square."""

    def __init__(self, network: RegionLandmarks, spec: Spec) -> None:
        """Train ``network``."""
        super().__init__()
        self.network, self.spec = network, spec

    def boxes(self, images: Tensor) -> Tensor:
        """Return the squares (B,1,4), in pixels, that contain the faces of crops (B,3,S,S)."""
        size = images.shape[-1]
        middle, half = (size - 1) / 2, size / self.spec.crop_margin / 2
        box = images.new_tensor([middle - half, middle - half, middle + half, middle + half])
        return box.expand(images.shape[0], 1, 4)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``points`` (B,n,2) in crop pixels and ``confidence`` (B,n)."""
        points, confidence = self.network.locate(self.network.features(images), self.boxes(images))
        return {"points": points[:, 0], "confidence": confidence[:, 0]}

    def losses(self, batch: FaceItem, objective: str) -> dict[str, Tensor]:
        """Return the loss ``landmarks``."""
        images = batch["image"]
        taps = self.network.features(images)
        loss = landmark_loss(self.network, taps, self.boxes(images), batch["points"], batch["known"])
        return {"landmarks": loss}
