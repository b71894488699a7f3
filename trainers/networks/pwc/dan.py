"""DAN, the deep alignment network (Kowalski et al. 2017), as built by the PWC study.

It has three stages; each aligns and corrects the landmarks. As the published count implies, the concatenated input has
no batch normalisation. Shapes, mean shape, warps and maps are all in pixels of the same crop.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..blocks import conv_bn, in_full_precision
from .networks import PWCConfig, check_multiple, dense, exactly, grey, halving

_GROUPS = (64, 128, 256, 512)


class Corrector(nn.Module):
    """Network of one stage: predicts a correction of all landmarks from an image, and returns its features."""

    def __init__(self, config: PWCConfig, inputs: int) -> None:
        """Build for images of ``inputs`` channels."""
        super().__init__()
        widths = [inputs, *(config.scaled(channels) for channels in _GROUPS)]
        self.body = nn.Sequential(
            *(nn.Sequential(conv_bn(a, b, bias=True), conv_bn(b, b, bias=True), halving()) for a, b in pairwise(widths))
        )
        cells, self.landmarks = math.ceil(config.size / 16) ** 2, config.landmarks
        self.features = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), dense(widths[-1] * cells, config.scaled(256)))
        self.change = nn.Linear(config.scaled(256), 2 * config.landmarks)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B,C,S,S) to corrections (B,n,2) in pixels and features (B,256 x width)."""
        features = self.features(self.body(image))
        return exactly(self.change, features).reshape(-1, self.landmarks, 2), features


class DAN(nn.Module):
    """Network from crops (B,3,S,S), RGB in 0..1, to landmarks in ``stages`` steps, starting from a mean shape."""

    mean_shape: Tensor

    def __init__(self, config: PWCConfig | None = None, *, stages: int = 3) -> None:
        """Build the network for ``config.size``, 112 in the paper. ``start_from`` sets the mean shape.

        Raises:
            NasionError: the size is odd.
        """
        super().__init__()
        config = config or PWCConfig(size=112)
        check_multiple(config.size, 2, "the feature images of DAN, which are half as large,")
        self.feature_side = config.size // 2
        self.stages = nn.ModuleList(Corrector(config, 1 if stage == 0 else 3) for stage in range(stages))
        self.connections = nn.ModuleList(
            nn.Sequential(nn.Linear(config.scaled(256), self.feature_side**2), nn.ReLU()) for _ in range(stages - 1)
        )
        rotation = torch.arange(config.landmarks) * (2 * math.pi / config.landmarks)
        circle = torch.stack([rotation.cos(), rotation.sin()], dim=1) * (0.3 * config.size) + (config.size - 1) / 2
        self.register_buffer("mean_shape", circle)

    @torch.no_grad()
    def start_from(self, shape: Tensor) -> None:
        """Set the mean shape to ``shape`` (n,2), in crop pixels."""
        self.mean_shape.copy_(shape)

    def forward(self, images: Tensor) -> Tensor:
        """Return landmarks (B,n,2) in crop pixels."""
        image = grey(images)
        change, features = self.stages[0](image)
        shape: Tensor = self.mean_shape + change
        for connection, stage in zip(self.connections, list(self.stages)[1:], strict=True):
            rotation, shift = similarity(shape, self.mean_shape)
            aligned = moved(shape, rotation, shift)
            image_of_features = connection(features).reshape(-1, 1, self.feature_side, self.feature_side)
            inputs = [
                warped(image, rotation, shift),
                nearness(aligned, image.shape[2], image.shape[3]),
                functional.interpolate(image_of_features, scale_factor=2.0, mode="nearest"),
            ]
            change, features = stage(torch.cat(inputs, dim=1))
            shape = moved(aligned + change - shift, inverse(rotation))
        return shape


@in_full_precision
def moved(points: Tensor, rotation: Tensor, shift: Tensor | float = 0.0) -> Tensor:
    """Apply a similarity transform to points (B,n,2)."""
    return points @ rotation.mT + shift


@in_full_precision
def similarity(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Fit the similarity transform that maps ``source`` (B,n,2) to ``target`` (n,2) by least squares.

    Returns:
        rotation (B,2,2), with scale, and shift (B,1,2): a row ``p`` is mapped to ``p @ rotation.mT + shift``.
    """
    from_mean, to_mean = source.mean(dim=1, keepdim=True), target.mean(dim=0)
    a, b = source - from_mean, target - to_mean
    size = (a * a).sum(dim=(1, 2)).clamp_min(1e-6)
    cos = (a * b).sum(dim=(1, 2)) / size
    sin = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(dim=1) / size
    rotation = torch.stack([cos, -sin, sin, cos], dim=1).reshape(-1, 2, 2)
    return rotation, to_mean - from_mean @ rotation.mT


def inverse(rotation: Tensor) -> Tensor:
    """Return the inverse (B,2,2) of rotations with scale: the transpose over the squared scale."""
    square = (rotation[:, 0] ** 2).sum(dim=1).clamp_min(1e-6)
    return rotation.mT / square[:, None, None]


@in_full_precision
def warped(image: Tensor, rotation: Tensor, shift: Tensor) -> Tensor:
    """Warp images (B,C,H,W) by a similarity transform, bilinear, zero outside."""
    height, width = image.shape[2:]
    source = (_pixels(image, height, width) - shift) @ inverse(rotation).mT
    grid = (2 * source + 1) / source.new_tensor([width, height]) - 1  # half-pixel convention: align_corners=False
    return functional.grid_sample(image, grid.reshape(-1, height, width, 2), align_corners=False)


@in_full_precision
def nearness(points: Tensor, height: int, width: int) -> Tensor:
    """Return ``1 / (1 + distance to the nearest landmark)`` at each pixel: landmarks (B,n,2) to (B,1,H,W)."""
    pixels = _pixels(points, height, width)
    with torch.no_grad():
        # A matrix product finds the nearest landmark; training is three times as fast as with the minimum over all
        # distances. |p - s|^2 has the order of |s|^2 / 2 - p.s; centring avoids the cancellation of large numbers.
        middle = pixels.mean(dim=0)
        centred = points - middle
        nearer = (pixels - middle) @ centred.mT - (centred * centred).sum(dim=2)[:, None] / 2
        nearest = nearer.argmax(dim=2)
    chosen = points.gather(1, nearest[..., None].expand(-1, -1, 2))
    distance: Tensor = torch.linalg.vector_norm(pixels - chosen, dim=2)
    return 1 / (1 + distance.reshape(-1, 1, height, width))


def _pixels(like: Tensor, height: int, width: int) -> Tensor:
    """Return x and y of each pixel, row by row: (H*W,2)."""
    x = torch.arange(width, device=like.device, dtype=like.dtype)
    y = torch.arange(height, device=like.device, dtype=like.dtype)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=2).reshape(-1, 2)
