"""The networks of the pixel-wise classification study: one VGG-like trunk, a map decoder, a regression head, a critic.

Paper: "A Detailed Look At CNN-based Approaches In Facial Landmark Detection" (Hsu et al.). Its cascade is in
``dan.py``. The published parameter counts hold only with one input channel and biased convolutions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import conv_bn, in_full_precision

# channels and convolutions of the groups before each pooling
_GROUPS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))


@dataclass(frozen=True, slots=True)
class PWCConfig:
    """Size of a network of the family.

    Attributes:
        landmarks: number of points.
        size: side of the square crop in pixels; a multiple of 8.
        width: factor on all widths but those that the number of points fixes; 1 is the paper's.
    """

    landmarks: int = 68
    size: int = 224
    width: float = 1.0

    def scaled(self, channels: int) -> int:
        """``channels`` of the paper at this width."""
        return max(1, round(channels * self.width))


def grey(images: Tensor) -> Tensor:
    """Mean of the colours: (B,3,H,W) to (B,1,H,W)."""
    return images.mean(dim=1, keepdim=True)


def halving() -> nn.MaxPool2d:
    """Max-pooling by two; an odd side is rounded up, so that no pixel is left out."""
    return nn.MaxPool2d(2, 2, ceil_mode=True)


class Trunk(nn.Module):
    """Crop (B,3,S,S), RGB in 0..1, to features at strides 32, 16 and 8."""

    def __init__(self, config: PWCConfig) -> None:
        """Build with ``config``'s widths."""
        super().__init__()
        before, groups = 1, []
        for channels, count in _GROUPS:
            width = config.scaled(channels)
            convolutions = [conv_bn(before if i == 0 else width, width, bias=True) for i in range(count)]
            groups.append(nn.Sequential(*convolutions, halving()))
            before = width
        self.groups = nn.ModuleList(groups)
        self.width = config.scaled(2048)
        self.wide = nn.Sequential(
            conv_bn(before, self.width, 7, bias=True), conv_bn(self.width, self.width, 1, bias=True)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B,2048,S/32,S/32) and the taps (B,512,S/16,S/16) and (B,256,S/8,S/8), times the width."""
        x, taps = grey(images), []
        for group in self.groups:
            x = group(x)
            taps.append(x)
        return self.wide(x), taps[3], taps[2]


class Enlargement(nn.ConvTranspose2d):
    """A transposed convolution, the bias added apart in training: within it, half the time goes into its gradient."""

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B,C,H,W) to (B,C',H',W')."""
        if not self.training:
            return super().forward(features, output_size)
        assert self.bias is not None
        assert isinstance(self.padding, tuple)
        weighted = functional.conv_transpose2d(features, self.weight, None, self.stride, self.padding)
        return weighted + self.bias.to(weighted.dtype)[:, None, None]


class MapNetwork(nn.Module):
    """Crop to logits of maps as large as itself: landmarks alone, or a background with them."""

    def __init__(self, config: PWCConfig, *, background: bool) -> None:
        """Build for ``config.landmarks`` maps and, with ``background``, one more."""
        super().__init__()
        self.trunk = Trunk(config)
        maps, fine, coarse = config.landmarks + background, config.scaled(256), config.scaled(512)
        self.score = nn.Sequential(nn.Conv2d(self.trunk.width, maps, 1), nn.ReLU(inplace=True))
        self.lift_16 = nn.ConvTranspose2d(maps, coarse, 4, stride=2, padding=1)
        self.lift_8 = nn.ConvTranspose2d(coarse, fine, 4, stride=2, padding=1)
        self.lift_1 = Enlargement(fine, maps, 16, stride=8, padding=4)

    @torch.no_grad()
    def expect(self, background: int, pixels: int) -> None:
        """Begin with map number ``background`` likely everywhere: as often as a landmark is not one of ``pixels``.

        Else the first gradients only say that nearly all is background, and Adam, which divides by their size for
        thousands of steps, forgets them too slowly to see the landmarks.
        """
        assert self.lift_1.bias is not None
        self.lift_1.bias.zero_()
        self.lift_1.bias[background] = math.log(pixels)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, maps, S, S)."""
        x, at_16, at_8 = self.trunk(images)
        x = _add(self.lift_16(self.score(x)), at_16)
        x = _add(self.lift_8(x), at_8)
        logits: Tensor = self.lift_1(x)
        return logits


def _add(lifted: Tensor, tap: Tensor) -> Tensor:
    """Sum; where the tap's side is odd, the cell that rounding up added lies at the end and is dropped."""
    return lifted[:, :, : tap.shape[2], : tap.shape[3]] + tap


class DirectRegression(nn.Module):
    """Crop to points by fully connected layers."""

    def __init__(self, config: PWCConfig) -> None:
        """Build for ``config.landmarks`` points."""
        super().__init__()
        self.landmarks = config.landmarks
        self.trunk = Trunk(config)
        cells, first, second = math.ceil(config.size / 32) ** 2, config.scaled(1024), config.scaled(256)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.5), dense(self.trunk.width * cells, first), dense(first, second)
        )
        self.points = nn.Linear(second, 2 * config.landmarks)

    def forward(self, images: Tensor) -> Tensor:
        """Points (B,n,2) in crop pixels."""
        features, _, _ = self.trunk(images)
        return exactly(self.points, self.head(features)).reshape(-1, self.landmarks, 2)

    @torch.no_grad()
    def start_from(self, shape: Tensor) -> None:
        """Begin at ``shape`` (n,2), crop pixels, so that learning need not walk there from the corner."""
        self.points.bias.copy_(shape.flatten())


@in_full_precision
def exactly(layer: nn.Module, features: Tensor) -> Tensor:
    """A layer whose answer counts pixels."""
    answer: Tensor = layer(features)
    return answer


def dense(inputs: int, outputs: int) -> nn.Sequential:
    """Fully connected layer, batch normalisation and ReLU."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


class Discriminator(nn.Module):
    """Is a shape that of a face? Used in training only."""

    def __init__(self, landmarks: int = 68, size: int = 224) -> None:
        """Judge shapes of ``landmarks`` points in crops of ``size`` pixels."""
        super().__init__()
        self.size = size
        self.body = nn.Sequential(nn.Flatten(), dense(2 * landmarks, 128), dense(128, 128), nn.Linear(128, 1))

    def forward(self, points: Tensor) -> Tensor:
        """Points (B,n,2) in crop pixels to logits (B,), positive for an annotated shape."""
        logits: Tensor = self.body(2 * (points + 0.5) / self.size - 1)
        return logits.squeeze(1)
