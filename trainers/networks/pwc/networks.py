"""Networks of the pixel-wise classification (PWC) study.

They are a VGG-like trunk, a map decoder, a regression head and a discriminator. Paper: "A Detailed Look At CNN-based
Approaches In Facial Landmark Detection" (Hsu et al.). Its cascade is in ``dan.py``. The published parameter counts hold
only for one input channel and convolutions with bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....engines.errors import NasionError
from ..blocks import conv_bn, in_full_precision

# channels and number of convolutions of the group before each pooling
_GROUPS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))


@dataclass(frozen=True, slots=True)
class PWCConfig:
    """Size of a network of the family.

    Attributes:
        landmarks: number of landmarks.
        size: side of the square crop in pixels; for maps a multiple of 8, for DAN an even number.
        width: factor on all widths except those fixed by the number of landmarks; 1 is the paper's.
        unit: pixels per unit of the last layer of direct regression. The weights of that layer change by at most the
            learning rate per step, so with a unit of 1 pixel the landmarks hardly leave their start.
    """

    landmarks: int = 68
    size: int = 224
    width: float = 1.0
    unit: float = 1.0

    def scaled(self, channels: int) -> int:
        """Return the paper's number of ``channels`` at this width."""
        return max(1, round(channels * self.width))


def grey(images: Tensor) -> Tensor:
    """Return the mean over the colours: (B,3,H,W) to (B,1,H,W)."""
    return images.mean(dim=1, keepdim=True)


def halving() -> nn.MaxPool2d:
    """Build a max-pooling by two that rounds odd sides up, so that no pixel is left out."""
    return nn.MaxPool2d(2, 2, ceil_mode=True)


def check_multiple(size: int, step: int, needed_by: str) -> None:
    """Check the side of a crop.

    Raises:
        NasionError: ``size`` is not a multiple of ``step``, which ``needed_by`` names.
    """
    if size % step:
        near = max(step, size // step * step)
        raise NasionError(f"size {size} is not a multiple of {step}; {needed_by} need one; try {near} or {near + step}")


class Trunk(nn.Module):
    """Trunk from crops (B,3,S,S), RGB in 0..1, to features at strides 32, 16 and 8."""

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
        """Return features (B,2048,S/32,S/32), taps (B,512,S/16,S/16) and (B,256,S/8,S/8); channels times the width."""
        x, taps = grey(images), []
        for group in self.groups:
            x = group(x)
            taps.append(x)
        return self.wide(x), taps[3], taps[2]


class Enlargement(nn.ConvTranspose2d):
    """Transposed convolution that adds its bias separately in training.

    Inside the convolution, the gradient of the bias takes half of the time.
    """

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B,C,H,W) to (B,C',H',W')."""
        if not self.training:
            return super().forward(features, output_size)
        assert self.bias is not None
        assert isinstance(self.padding, tuple)
        weighted = functional.conv_transpose2d(features, self.weight, None, self.stride, self.padding)
        return weighted + self.bias.to(weighted.dtype)[:, None, None]


class MapNetwork(nn.Module):
    """Network from a crop to logits of maps of the same size: one per landmark, and optionally the background."""

    def __init__(self, config: PWCConfig, *, background: bool) -> None:
        """Build for ``config.landmarks`` maps, and one more with ``background``.

        Raises:
            NasionError: the maps would not be as large as the crop.
        """
        super().__init__()
        check_multiple(config.size, 8, "as large as their crop, the maps of this network")
        self.trunk = Trunk(config)
        maps, fine, coarse = config.landmarks + background, config.scaled(256), config.scaled(512)
        self.score = nn.Sequential(nn.Conv2d(self.trunk.width, maps, 1), nn.ReLU(inplace=True))
        self.lift_16 = nn.ConvTranspose2d(maps, coarse, 4, stride=2, padding=1)
        self.lift_8 = nn.ConvTranspose2d(coarse, fine, 4, stride=2, padding=1)
        self.lift_1 = Enlargement(fine, maps, 16, stride=8, padding=4)

    @torch.no_grad()
    def expect(self, background: int, pixels: int) -> None:
        """Initialise the bias so that map number ``background`` has odds of ``pixels`` to 1 against each landmark.

        Otherwise the first gradients only show that nearly all pixels are background. Adam divides by their size for
        thousands of steps and forgets them too slowly to learn the landmarks.
        """
        assert self.lift_1.bias is not None
        self.lift_1.bias.zero_()
        self.lift_1.bias[background] = math.log(pixels)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, maps, S, S)."""
        x, at_16, at_8 = self.trunk(images)
        x = _add(self.lift_16(self.score(x)), at_16)
        x = _add(self.lift_8(x), at_8)
        logits: Tensor = self.lift_1(x)
        return logits


def _add(lifted: Tensor, tap: Tensor) -> Tensor:
    """Add both; if the side of the tap is odd, the extra cell from rounding up is at the end and is dropped."""
    return lifted[:, :, : tap.shape[2], : tap.shape[3]] + tap


class DirectRegression(nn.Module):
    """Network from a crop to landmarks by fully connected layers."""

    def __init__(self, config: PWCConfig) -> None:
        """Build for ``config.landmarks`` landmarks."""
        super().__init__()
        self.landmarks = config.landmarks
        self.trunk = Trunk(config)
        cells, first, second = math.ceil(config.size / 32) ** 2, config.scaled(1024), config.scaled(256)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.5), dense(self.trunk.width * cells, first), dense(first, second)
        )
        self.points, self.unit = nn.Linear(second, 2 * config.landmarks), config.unit
        with torch.no_grad():
            self.points.weight.div_(self.unit)

    def forward(self, images: Tensor) -> Tensor:
        """Return landmarks (B,n,2) in crop pixels."""
        features, _, _ = self.trunk(images)
        return self.unit * exactly(self.points, self.head(features)).reshape(-1, self.landmarks, 2)

    @torch.no_grad()
    def start_from(self, shape: Tensor) -> None:
        """Initialise the output at ``shape`` (n,2), in crop pixels, so that training does not start from the corner."""
        self.points.bias.copy_(shape.flatten() / self.unit)


@in_full_precision
def exactly(layer: nn.Module, features: Tensor) -> Tensor:
    """Apply a layer whose output is in pixels, in full precision."""
    answer: Tensor = layer(features)
    return answer


def dense(inputs: int, outputs: int) -> nn.Sequential:
    """Build a fully connected layer with batch normalisation and ReLU."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


class Discriminator(nn.Module):
    """Discriminator between annotated and predicted shapes; used in training only."""

    def __init__(self, landmarks: int = 68, size: int = 224) -> None:
        """Build for shapes of ``landmarks`` landmarks in crops of ``size`` pixels."""
        super().__init__()
        self.size = size
        self.body = nn.Sequential(nn.Flatten(), dense(2 * landmarks, 128), dense(128, 128), nn.Linear(128, 1))

    def forward(self, points: Tensor) -> Tensor:
        """Map landmarks (B,n,2) in crop pixels to logits (B,), positive for an annotated shape."""
        logits: Tensor = self.body(2 * (points + 0.5) / self.size - 1)
        return logits.squeeze(1)
