"""What a network is asked to predict, made from annotations."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_targets(cells: Tensor, height: int, width: int, *, sigma: float) -> tuple[Tensor, Tensor]:
    """Spatial distributions around points: Gaussians normalised over the map, as two factors.

    Args:
        cells: (B, n, 2) x, y in cells of the map.
        height, width: size of the map.
        sigma: standard deviation in cells.

    Returns:
        across (B, n, width) and down (B, n, height), each summing to 1; the distribution is their product.
    """
    x = torch.arange(width, device=cells.device, dtype=cells.dtype)
    y = torch.arange(height, device=cells.device, dtype=cells.dtype)
    across = (-((x - cells[..., :1]) ** 2) / (2 * sigma**2)).softmax(dim=2)
    down = (-((y - cells[..., 1:]) ** 2) / (2 * sigma**2)).softmax(dim=2)
    return across, down
