"""RoIAlign (He et al. 2017) built on ``grid_sample``, so that it runs in every engine.

Boxes are in pixels of the image, with the centre of its top-left pixel at (0, 0). Cell j of a map of scale s (cells per
pixel) is centred on pixel (j + 0.5) / s - 0.5. Each of the size x size bins is the mean of sampling x sampling
bilinear samples spread evenly over it. A sample up to one cell outside the map takes the value at the border; a sample
further out is zero. An empty or inverted box samples only its top-left corner.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def roi_align(features: Tensor, boxes: Tensor, *, size: int, scale: float, sampling: int = 2) -> Tensor:
    """Pool the same number of boxes from each image.

    Args:
        features: (B, C, H, W).
        boxes: (B, K, 4) x0, y0, x1, y1 in pixels of the image.
        size: bins along each side.
        scale: cells of ``features`` per pixel of the image, e.g. 1/16.
        sampling: samples along each side of a bin.

    Returns:
        (B, K, C, size, size).
    """
    batch, channels, height, width = features.shape
    count, steps = boxes.shape[1], size * sampling
    x = _samples(boxes[..., 0], boxes[..., 2], steps, scale)
    y = _samples(boxes[..., 1], boxes[..., 3], steps, scale)
    # coordinates of grid_sample are -1 and 1 at the outer edges of the map
    grid_x = ((x * 2 + 1) / width - 1)[:, :, None, :].expand(-1, -1, steps, -1)
    grid_y = ((y * 2 + 1) / height - 1)[:, :, :, None].expand(-1, -1, -1, steps)
    grid = torch.stack([grid_x, grid_y], dim=4).reshape(batch, count * steps, steps, 2)
    sampled = functional.grid_sample(
        features.to(grid.dtype), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    near = _near(y, height)[:, :, :, None] * _near(x, width)[:, :, None, :]
    sampled = sampled * near.reshape(batch, 1, count * steps, steps)
    bins = functional.avg_pool2d(sampled, sampling) if sampling > 1 else sampled
    return bins.reshape(batch, channels, count, size, size).transpose(1, 2).to(features.dtype)


def _samples(low: Tensor, high: Tensor, steps: int, scale: float) -> Tensor:
    """Return sample positions (B, K, steps) along one axis, in cells, from box sides (B, K) in pixels."""
    fractions = (torch.arange(steps, device=low.device, dtype=low.dtype) + 0.5) / steps
    places = low[..., None] + (high - low).clamp_min(0)[..., None] * fractions
    return (places + 0.5) * scale - 0.5


def _near(places: Tensor, cells: int) -> Tensor:
    """Return 1 where a position is on the map or less than one cell outside it, else 0."""
    return ((places > -1) & (places < cells)).to(places.dtype)


def roi_align_list(
    features: Tensor, boxes: Tensor, images: Tensor, *, size: int, scale: float, sampling: int = 2
) -> Tensor:
    """Pool any number of boxes (R, 4) per image; ``images`` (R,) holds the image index of each box.

    Returns:
        (R, C, size, size); R may be 0.
    """
    chosen = features.index_select(0, images)
    return roi_align(chosen, boxes[:, None], size=size, scale=scale, sampling=sampling)[:, 0]


def roi_align_levels(
    levels: Sequence[Tensor], boxes: Tensor, *, size: int, scales: Sequence[float], samplings: Sequence[int]
) -> list[Tensor]:
    """Apply ``roi_align`` to several maps of one batch of images, each with its own scale and sampling ratio."""
    return [
        roi_align(features, boxes, size=size, scale=scale, sampling=sampling)
        for features, scale, sampling in zip(levels, scales, samplings, strict=True)
    ]
