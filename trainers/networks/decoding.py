"""Decoding of maps to landmarks, batched and exportable.

Points are in cells of the map, with the centre of the first cell at (0, 0).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .blocks import in_full_precision, spatial_moments


@in_full_precision
def arg_max(maps: Tensor, *, quarter: bool = True) -> tuple[Tensor, Tensor]:
    """Find the highest cell of each map.

    Args:
        maps: (B, n, H, W).
        quarter: shift each coordinate by a quarter of a cell towards the higher neighbour (Newell et al. 2016). At the
            edge of the map, or between equal neighbours, it is not shifted.

    Returns:
        points (B, n, 2) and the value of the map at the highest cell (B, n).
    """
    height, width = maps.shape[2:]
    flat = maps.flatten(2)
    peak, place = flat.max(dim=2)
    x, y = place % width, place // width
    if not quarter:
        return torch.stack([x, y], dim=2).to(maps.dtype), peak

    def lean(position: Tensor, size: int, step: int) -> Tensor:
        """Return the sign of the slope along one axis, 0 at the edge."""
        inside = (position > 0) & (position < size - 1)
        after = flat.gather(2, torch.where(inside, place + step, place)[..., None])
        before = flat.gather(2, torch.where(inside, place - step, place)[..., None])
        return (after - before)[..., 0].sign()

    shift = torch.stack([lean(x, width, 1), lean(y, height, width)], dim=2)
    return torch.stack([x, y], dim=2) + 0.25 * shift, peak


def soft_arg_max(logits: Tensor, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return mean (B, n, 2) and spread (B, n), in cells, of the spatial softmax of logits (B, n, H, W).

    Both are differentiable. A ``temperature`` above 1 softens the distribution; below 1, the mean moves closer to the
    highest cell.
    """
    return spatial_moments(logits / temperature)


@in_full_precision
def reweighted(maps: Tensor, *, threshold: float = 0.5) -> tuple[Tensor, Tensor]:
    """Decode by location reweighting (RDFN eq. 3): the weighted mean of the cells that reach ``threshold``.

    Args:
        maps: (B, n, H, W) probabilities.
        threshold: lowest value that counts; a map without such a cell is decoded by ``arg_max``.

    Returns:
        points (B, n, 2) and the highest value of each map (B, n).
    """
    height, width = maps.shape[2:]
    highest, peak = arg_max(maps)
    weight = torch.where(maps >= threshold, maps, 0)
    x = torch.arange(width, device=maps.device, dtype=maps.dtype)
    y = torch.arange(height, device=maps.device, dtype=maps.dtype)
    total = weight.sum(dim=(2, 3)).clamp_min(1e-6)
    mean = torch.stack([weight.sum(dim=2) @ x, weight.sum(dim=3) @ y], dim=2) / total[..., None]
    return torch.where((peak >= threshold)[..., None], mean, highest), peak
