"""RDFN (Lin and Liang 2023): faces and their landmarks from an image, in one network.

ResNet-50 to stride 16 -> boxes (a light region proposal head, greedy non-maximum suppression) -> features of each box
from nine taps -> score maps -> landmarks. All shapes depend on the input shape only, so that every engine can run it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..backbones.resnet import ResNet50, scaled
from ..blocks import conv_bn
from ..decoding import arg_max
from ..face_detector import cell_centres
from ..operators import location_reweight, multi_level_roi_align
from .region_head import CELLS, MAP, STRIDES, LandmarkHead, RDFNConfig, depthwise

SCALES = (160.0, 208.0, 256.0)  # sides of the anchors in pixels, if the shorter side of the image is 256
RATIOS = (0.5, 1.0, 2.0)  # height over width
ANCHORS = len(SCALES) * len(RATIOS)
LARGEST_GROWTH = math.log(1000 / 16)  # of a box over its anchor, as in Faster R-CNN, so that exp does not overflow


def anchor_boxes(height: int, width: int, size: int, device: torch.device) -> Tensor:
    """Return the anchors (height x width x 9, 4) of a map of stride 16, in pixels of the image."""
    centres = cell_centres(height, width, STRIDES[-1], device)
    sides = [(scale * size / 256, ratio) for scale in SCALES for ratio in RATIOS]
    half = torch.tensor([(s / math.sqrt(r) / 2, s * math.sqrt(r) / 2) for s, r in sides], device=device)
    return torch.cat([centres[:, None] - half, centres[:, None] + half], dim=2).reshape(-1, 4)


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Encode boxes (..., 4) as (tx, ty, tw, th) relative to anchors (..., 4) (Faster R-CNN)."""
    extent, anchor = boxes[..., 2:] - boxes[..., :2], anchors[..., 2:] - anchors[..., :2]
    shift = (boxes[..., :2] + boxes[..., 2:] - anchors[..., :2] - anchors[..., 2:]) / 2 / anchor
    return torch.cat([shift, (extent / anchor).clamp_min(1e-6).log()], dim=-1)


def decode_boxes(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Decode boxes; the inverse of ``encode_boxes``."""
    anchor = anchors[..., 2:] - anchors[..., :2]
    centre = (anchors[..., :2] + anchors[..., 2:]) / 2 + deltas[..., :2] * anchor
    half = deltas[..., 2:].clamp_max(LARGEST_GROWTH).exp() * anchor / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def suppress(boxes: Tensor, scores: Tensor, *, count: int, overlap: float) -> tuple[Tensor, Tensor]:
    """Apply greedy non-maximum suppression with a fixed number of boxes, so that the output shape is static.

    Each round takes the best remaining box and removes those whose IoU with it exceeds ``overlap``.

    Args:
        boxes: (B, N, 4).
        scores: (B, N) in 0..1.
        count: number of rounds, and so of boxes.
        overlap: IoU above which a box is removed.

    Returns:
        boxes (B, count, 4) and scores (B, count), best first; the score is 0 where no box was left.
    """
    chosen, values = [], []
    area = _area(boxes)
    for _ in range(count):
        value, place = scores.max(dim=1, keepdim=True)
        box = boxes.gather(1, place[..., None].expand(-1, -1, 4))
        chosen.append(box)
        values.append(value.clamp_min(0))
        low, high = torch.maximum(box[..., :2], boxes[..., :2]), torch.minimum(box[..., 2:], boxes[..., 2:])
        common = (high - low).clamp_min(0).prod(dim=2)
        near = common > overlap * (_area(box) + area - common)
        scores = torch.where(near, -1.0, scores).scatter(1, place, -1.0)  # the chosen box too, even if it has no area
    return torch.cat(chosen, dim=1), torch.cat(values, dim=1)


def _area(boxes: Tensor) -> Tensor:
    """Return the area (B,N) of boxes (B,N,4), in pixels."""
    return (boxes[..., 2:] - boxes[..., :2]).prod(dim=2)


def enlarged(boxes: Tensor, margin: float) -> Tensor:
    """Scale the sides of boxes (..., 4) by ``margin`` around their centres."""
    centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2 * margin
    return torch.cat([centre - half, centre + half], dim=-1)


class DetectionHead(nn.Module):
    """Detection head: a separable convolution and, per anchor, two classes and four box parameters."""

    def __init__(self, inputs: int, config: RDFNConfig) -> None:
        """Build for ``inputs`` channels at stride 16."""
        super().__init__()
        self.size = config.size
        hidden = scaled(config.rpn_width, config.width)
        self.encode = nn.Sequential(depthwise(inputs, (3, 3), (1, 1)), conv_bn(inputs, hidden, 1))
        self.classes = nn.Conv2d(hidden, 2 * ANCHORS, 1)
        self.sides = nn.Conv2d(hidden, 4 * ANCHORS, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map features (B,C,h,w) to logits (B,N,2), box parameters (B,N,4) and anchors (N,4), N = 9 h w.

        Class 1 is a face, class 0 is background.
        """
        x = self.encode(features)
        logits = self.classes(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 2)
        deltas = self.sides(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)
        return logits, deltas, anchor_boxes(x.shape[2], x.shape[3], self.size, x.device)


class Trunk(nn.Module):
    """ResNet-50 to stride 16, for ImageNet-normalised images (B,3,H,W) with sides that are multiples of 16."""

    def __init__(self, config: RDFNConfig) -> None:
        """Build as ``config`` says."""
        super().__init__()
        self.config = config
        self.backbone = ResNet50(groups=3, width=config.width)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the nine taps, three per group; the last one feeds the detector."""
        return [tap for group in self.backbone.taps(images) for tap in group]


class RegionDetector(Trunk):
    """Detection part of RDFN, for images whose shorter side has ``config.size`` pixels."""

    def __init__(self, config: RDFNConfig) -> None:
        """Build as ``config`` says."""
        super().__init__(config)
        self.detector = DetectionHead(self.backbone.channels[-1], config)

    def propose(self, taps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return boxes (B,K,4) in pixels and scores (B,K) of the best K faces, best first."""
        logits, deltas, anchors = self.detector(taps[-1])
        scores = logits.float().softmax(dim=2)[..., 1]
        boxes = decode_boxes(deltas.float(), anchors)
        return suppress(boxes, scores, count=self.config.faces, overlap=self.config.overlap)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``boxes`` (B,K,4) in pixels and ``scores`` (B,K), best first; a score of 0 is an empty slot."""
        boxes, scores = self.propose(self.features(images))
        return {"boxes": boxes, "scores": scores}


class RegionLandmarks(Trunk):
    """Landmark part of RDFN: landmarks inside boxes."""

    def __init__(self, config: RDFNConfig) -> None:
        """Build as ``config`` says."""
        super().__init__(config)
        taps = [channels for group in self.backbone.tap_channels for channels in group]
        self.head = LandmarkHead(sum(taps) if config.taps == "all" else taps[-1], config)

    def regions(self, taps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Return the features (B K, C, 14, 14) of boxes (B,K,4) with margin: taps of norm 1 per cell, concatenated."""
        boxes = enlarged(boxes, self.config.roi_margin)
        if self.config.taps == "top":  # a plain region-based network neither concatenates nor normalises
            return multi_level_roi_align(taps[-1:], boxes, size=CELLS, scales=(1 / STRIDES[-1],))
        scales = [1 / stride for stride in STRIDES for _ in range(3)]
        joined = multi_level_roi_align(taps, boxes, size=CELLS, scales=scales, normalize=True)
        return joined.contiguous(memory_format=torch.channels_last)  # depthwise convolutions take a third of the time

    def to_cells(self, points: Tensor, boxes: Tensor) -> Tensor:
        """Convert landmarks (..., n, 2) from pixels to cells of the score maps of boxes (..., 4)."""
        region = enlarged(boxes, self.config.roi_margin)[..., None, :]
        return (points - region[..., :2]) / (region[..., 2:] - region[..., :2]) * MAP - 0.5

    def locate(self, taps: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return landmarks (B,K,n,2) in pixels and their confidence (B,K,n) for boxes (B,K,4)."""
        maps = self.head(self.regions(taps, boxes)).softmax(dim=1)[:, 1:]
        cells, peak = location_reweight(maps) if self.config.reweighting else arg_max(maps, quarter=False)
        batch, count = boxes.shape[:2]
        cells, peak = cells.reshape(batch, count, -1, 2), peak.reshape(batch, count, -1)
        region = enlarged(boxes, self.config.roi_margin)[:, :, None]
        return region[..., :2] + (cells + 0.5) / MAP * (region[..., 2:] - region[..., :2]), peak


class RDFN(RegionDetector, RegionLandmarks):
    """The complete network: images in, faces with landmarks out."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Find the faces of each image, best first.

        Returns:
            ``boxes`` (B,K,4) and ``points`` (B,K,n,2) in pixels, ``scores`` (B,K), ``confidence`` (B,K,n) in 0..1 and
            ``valid`` (B,K), 1 for a face and 0 for an empty slot, whose other values are undefined.
        """
        taps = self.features(images)
        boxes, scores = self.propose(taps)
        points, confidence = self.locate(taps, boxes)
        valid = (scores >= self.config.threshold).to(scores.dtype)
        return {"boxes": boxes, "scores": scores, "points": points, "confidence": confidence, "valid": valid}


class HeadAlone(nn.Module):
    """RDFN without its detector: images and boxes in, landmarks out."""

    def __init__(self, network: RegionLandmarks) -> None:
        """Use the backbone and the head of ``network``."""
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """Map images (B,3,H,W) and boxes (B,K,4) to ``points`` (B,K,n,2) in pixels and ``confidence`` (B,K,n)."""
        points, confidence = self.network.locate(self.network.features(images), boxes)
        return {"points": points, "confidence": confidence}
