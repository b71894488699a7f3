"""Anchor-free face detector: a residual pyramid with a head for each of the strides 8, 16 and 32."""

from __future__ import annotations

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
        boxes, scores, _ = self._cells(images, shifts)
        return boxes, scores

    def with_roll(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, logits, and the roll (B,N,2) of the face of each cell, as a vector towards (cosine, sine)."""
        return self._cells(images, (0.0, 0.0, 0.0))

    def _cells(self, images: Tensor, shifts: tuple[float, float, float]) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, logits and rolls of all cells, as ``with_roll`` does."""
        boxes, scores, rolls = [], [], []
        for head, tap, stride, shift in zip(self.heads, self._pyramid(images), STRIDES, shifts, strict=True):
            score, sides, roll = head(tap)
            centres = cell_centres(tap.shape[2], tap.shape[3], stride, tap.device)
            sides = sides.clamp(-4, 5).exp() * stride
            boxes.append(torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], dim=2))
            scores.append(score + shift)
            rolls.append(roll)
        return torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(rolls, 1)

    def _pyramid(self, images: Tensor) -> list[Tensor]:
        """Return the features of the neck, one tensor for each stride."""
        x, taps = self.stem(images), []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            taps.append(lateral(x))
        for level in (1, 0):
            taps[level] = taps[level] + functional.interpolate(taps[level + 1], scale_factor=2.0, mode="nearest")
        return taps


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

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the score logits (B,N), raw sides (B,N,4) and rolls (B,N,2) of N cells."""
        features = self.tower(features)
        score, sides, roll = (head(features).float().flatten(2) for head in (self.score, self.sides, self.roll))
        return score.squeeze(1), sides.transpose(1, 2), roll.transpose(1, 2)


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
