"""Anchor-free face detector: a residual pyramid with a head for each of the strides 8, 16 and 32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import ResidualBlock, conv_bn

STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Widths and depths of the detector.

    Use multiples of 16 channels: on a CPU, other widths are as slow as the next multiple.

    Attributes:
        stem: channels at strides 2 and 4.
        stages: channels at strides 8, 16 and 32.
        neck: channels of the pyramid and the head.
        blocks: residual blocks at strides 8, 16 and 32. The last of several at a stride is dilated, so that the
            receptive field covers a face larger than the image.
    """

    stem: tuple[int, int] = (16, 16)
    stages: tuple[int, int, int] = (32, 64, 80)
    neck: int = 32
    blocks: tuple[int, int, int] = (1, 1, 2)


class FaceDetector(nn.Module):
    """Detector for images (B,3,H,W), RGB in 0..1, with sides that are multiples of 32.

    It makes one prediction per cell of three grids: a score and the distances from the centre of the cell to the four
    sides of a box (FCOS, Tian et al. 2019). The score estimates the IoU of that box with a face (quality focal loss,
    Li et al. 2020). The cell also predicts the roll of the face.
    """

    def __init__(self, config: DetectorConfig | None = None) -> None:
        """Build with ``config``'s widths."""
        super().__init__()
        config = config or DetectorConfig()
        first, second = config.stem
        self.stem = nn.Sequential(conv_bn(3, first, stride=2), conv_bn(first, second, stride=2))
        widths = (second, *config.stages)
        self.stages = nn.ModuleList(
            _stage(a, b, count) for (a, b), count in zip(pairwise(widths), config.blocks, strict=True)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(width, config.neck, 1) for width in config.stages)
        self.heads = nn.ModuleList(_Head(config.neck) for _ in STRIDES)

    def forward(self, images: Tensor, shifts: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> tuple[Tensor, Tensor]:
        """Return boxes (B,N,4) as x0,y0,x1,y1 in input pixels and score logits (B,N), cells of stride 8 first.

        ``shifts`` is added to the logits of each stride.
        """
        return self._decode(self._grids(images), shifts)

    def with_roll(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, logits, and the roll (B,N,2) of the face of each cell, as a vector towards (cosine, sine)."""
        grids = self._grids(images)
        rolls = [
            head.roll(features).float().flatten(2).transpose(1, 2)
            for head, features in zip(self.heads, grids, strict=True)
        ]
        return *self._decode(grids), torch.cat(rolls, 1)

    def _grids(self, images: Tensor) -> list[Tensor]:
        """Return the features of the heads, one tensor for each stride."""
        x, taps = self.stem(images), []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            taps.append(lateral(x))
        for level in (1, 0):
            taps[level] = taps[level] + functional.interpolate(taps[level + 1], scale_factor=2.0, mode="nearest")
        return [head.tower(tap) for head, tap in zip(self.heads, taps, strict=True)]

    def _decode(
        self, grids: Sequence[Tensor], shifts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ) -> tuple[Tensor, Tensor]:
        """Return the boxes and logits of all cells, as ``forward`` does."""
        boxes, scores = [], []
        for head, features, stride, shift in zip(self.heads, grids, STRIDES, shifts, strict=True):
            scores.append(head.score(features).flatten(1).float() + shift)
            sides = head.sides(features).float().clamp(-4, 5).exp().flatten(2).transpose(1, 2) * stride
            centres = cell_centres(features.shape[2], features.shape[3], stride, features.device)
            boxes.append(torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], dim=2))
        return torch.cat(boxes, 1), torch.cat(scores, 1)


class _Head(nn.Module):
    """Head of one stride: score, sides and roll of each cell.

    Strides share no head. Their features differ in mean and variance, so normalisations that strides share would
    normalise differently in training, where each call has the statistics of one stride, and in evaluation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(conv_bn(channels, channels), conv_bn(channels, channels))
        self.score = nn.Conv2d(channels, 1, 1)
        self.sides = nn.Conv2d(channels, 4, 1)
        self.roll = nn.Conv2d(channels, 2, 1)
        nn.init.constant_(self.score.bias, -4.6)  # type: ignore[arg-type]  # a prior of 1 %, as in focal loss


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    """Halve the resolution, then refine in ``blocks`` residual blocks."""
    dilations = [2 if k > 0 and k == blocks - 1 else 1 for k in range(blocks)]
    return nn.Sequential(conv_bn(inputs, outputs, stride=2), *(ResidualBlock(outputs, each) for each in dilations))


def cell_centres(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """Return x, y (height*width, 2) of the centres of the cells in input pixels (half-pixel convention)."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return (torch.stack([x.flatten(), y.flatten()], dim=1) + 0.5) * stride - 0.5


class DetectorExport(nn.Module):
    """Detector in its shipped form: scores in 0..1, boxes in input pixels, before non-maximum suppression.

    After training, large faces get lower scores than small ones of equal certainty, because they are rare in the
    training data. ``shifts`` (logits, one per stride) gives one threshold the same meaning for all sizes; it is chosen
    on held-out data.
    """

    def __init__(self, detector: FaceDetector, shifts: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        """Wrap a trained detector."""
        super().__init__()
        self.detector, self.shifts = detector, shifts

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``boxes`` (B,N,4) and ``scores`` (B,N)."""
        boxes, logits = self.detector(images, self.shifts)
        return {"boxes": boxes, "scores": logits.sigmoid()}
