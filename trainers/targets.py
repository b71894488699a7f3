"""What a network is asked to predict, made from annotations."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_log_targets(cells: Tensor, height: int, width: int, *, sigma: float) -> Tensor:
    """Spatial distributions around points: Gaussians normalised over the map.

    Args:
        cells: (B, n, 2) x, y in cells of the map.
        height, width: size of the map.
        sigma: standard deviation in cells.

    Returns:
        (B, n, height*width) logarithms of probabilities.
    """
    x = torch.arange(width, device=cells.device, dtype=cells.dtype)
    y = torch.arange(height, device=cells.device, dtype=cells.dtype)
    along_x = -((x - cells[..., :1]) ** 2) / (2 * sigma**2)
    along_y = -((y - cells[..., 1:]) ** 2) / (2 * sigma**2)
    along_x, along_y = along_x.log_softmax(dim=2), along_y.log_softmax(dim=2)
    return (along_y[..., :, None] + along_x[..., None, :]).flatten(2)
