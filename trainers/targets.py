"""Training targets made from annotations.

Landmarks are in cells of the map, the centre of the first cell at (0, 0). A landmark with a NaN is not annotated and
leaves no trace in the targets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def _upper_and_lower(first: int, last: int, lower: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the upper and the lower line of an eye or a lip between its two corners."""
    return tuple(range(first, last + 1)), (first, *lower, last)


# Curves along which boundary maps are drawn, per number of landmarks (networks.md section 6; 21 and 106 by analogy).
BOUNDARIES: dict[int, tuple[tuple[int, ...], ...]] = {
    19: ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11), (12, 13, 14)),
    21: ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11), (13, 14, 15)),
    29: (
        *((0, 4, 2), (0, 5, 2), (1, 6, 3), (1, 7, 3)),
        *((8, 12, 10), (8, 13, 10), (9, 14, 11), (9, 15, 11)),
        (18, 21, 19),
        *((22, middle, 23) for middle in (24, 25, 26, 27)),
    ),
    68: (
        *(tuple(range(17)), tuple(range(17, 22)), tuple(range(22, 27))),
        *(tuple(range(27, 31)), tuple(range(31, 36))),
        *_upper_and_lower(36, 39, (41, 40)),
        *_upper_and_lower(42, 45, (47, 46)),
        *_upper_and_lower(48, 54, (59, 58, 57, 56, 55)),
        *_upper_and_lower(60, 64, (67, 66, 65)),
    ),
    98: (
        *(tuple(range(33)), tuple(range(33, 38)), tuple(range(42, 47))),
        *(tuple(range(51, 55)), tuple(range(55, 60))),
        *_upper_and_lower(60, 64, (67, 66, 65)),
        *_upper_and_lower(68, 72, (75, 74, 73)),
        *_upper_and_lower(76, 82, (87, 86, 85, 84, 83)),
        *_upper_and_lower(88, 92, (95, 94, 93)),
    ),
    106: (
        *(tuple(range(33)), tuple(range(33, 38)), tuple(range(42, 47))),
        *(tuple(range(51, 55)), tuple(range(55, 66))),
        *_upper_and_lower(66, 70, (73, 72, 71)),
        *_upper_and_lower(75, 79, (82, 81, 80)),
        *_upper_and_lower(84, 90, (95, 94, 93, 92, 91)),
        *_upper_and_lower(96, 100, (103, 102, 101)),
    ),
}

_LONG = 8  # landmarks; a longer curve hardly bends between two of them, so half as many straight segments suffice


def gaussian_targets(cells: Tensor, height: int, width: int, *, sigma: float) -> tuple[Tensor, Tensor]:
    """Return spatial distributions around landmarks: Gaussians normalised over the map, as two factors.

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


def gaussian_maps(
    cells: Tensor,
    height: int,
    width: int,
    *,
    sigma: float,
    window: int | None = None,
    rounded: bool = False,
    known: Tensor | None = None,
) -> Tensor:
    """Draw one Gaussian of height 1 per landmark, as heat maps usually have it.

    Args:
        cells: (B, n, 2) x, y in cells of the map.
        height, width: size of the map.
        sigma: standard deviation in cells.
        window: odd side in cells of the square around the nearest cell; the map is 0 outside it. None: no bound.
        rounded: centre the Gaussian on the nearest cell, as much published code does, instead of on the landmark.
        known: (B, n), 0 where a landmark is not annotated.

    Returns:
        (B, n, height, width); all 0 for a landmark that is not annotated.
    """
    points, known = _known(cells, known)
    nearest = _nearest(points)
    centre = nearest if rounded else points
    factors = []
    for axis, size in ((0, width), (1, height)):
        at = torch.arange(size, device=cells.device, dtype=points.dtype)
        factor = torch.exp(-((at - centre[..., axis, None]) ** 2) / (2 * sigma**2))
        if window is not None:
            factor = factor * ((at - nearest[..., axis, None]).abs() <= window // 2)
        factors.append(factor)
    across, down = factors
    return (down * known[..., None])[..., :, None] * across[..., None, :]


def landmark_cells(
    cells: Tensor, height: int, width: int, *, radius: float = 0.0, known: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the cells that each landmark owns, and its share of each.

    A landmark owns its nearest cell and all cells whose centres lie within ``radius`` cells of it. A cell of several
    landmarks, such as those of the lips of a closed mouth, is shared equally.

    Args:
        cells: (B, n, 2) x, y in cells of the map.
        height, width: size of the map.
        radius: see above.
        known: (B, n), 0 where a landmark is not annotated.

    Returns:
        places (B, n, k) int64, row times ``width`` plus column, and shares (B, n, k): 1 divided by the number of
        owners, 0 for the remaining entries of a landmark that owns fewer than k cells of the map.
    """
    points, known = _known(cells, known)
    nearest, reach = _nearest(points), int(radius) + 1
    steps = torch.arange(-reach, reach + 1, device=cells.device, dtype=points.dtype)
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).view(-1, 2)
    at = nearest[:, :, None] + offsets  # (B, n, k, 2)
    own = (at - points[:, :, None]).square().sum(dim=3) <= radius**2
    own = (own | (offsets == 0).all(dim=1)) & (known[..., None] > 0)
    x, y = at[..., 0], at[..., 1]
    own &= (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place = torch.where(own, y * width + x, 0).long()
    most = max(1, int(own.sum(dim=2).max()))
    chosen = own.float().topk(most, dim=2).indices
    place, own = place.gather(2, chosen), own.gather(2, chosen)
    owners = torch.zeros(len(cells), height * width, dtype=cells.dtype, device=cells.device)
    owners = owners.scatter_add(1, place.flatten(1), own.flatten(1).to(cells.dtype))
    share = own / owners.gather(1, place.flatten(1)).view_as(place).clamp_min(1)
    return place, share


def boundary_maps(
    cells: Tensor,
    height: int,
    width: int,
    *,
    curves: Sequence[Sequence[int]],
    sigma: float = 1.0,
    merged: bool = False,
) -> Tensor:
    """Draw ridges of height 1 along smooth curves through landmarks: ``exp(-d^2 / 2 sigma^2)`` up to d = 3 sigma.

    Args:
        cells: (B, n, 2) x, y in cells of the map.
        height, width: size of the map.
        curves: P sequences of landmarks, see ``BOUNDARIES``.
        sigma: standard deviation in cells.
        merged: draw one map of all curves instead of one map per curve.

    Returns:
        (B, P or 1, height, width); a curve with a landmark that is not annotated is not drawn.
    """
    drawn = (spline(cells[:, list(curve)], steps=2 if len(curve) > _LONG else 4) for curve in curves)
    distance = torch.stack([_distance(line, height, width) for line in drawn], dim=1)
    if merged:
        distance = distance.amin(dim=1, keepdim=True)
    ridge = torch.exp(-distance / (2 * sigma**2))
    return torch.where(distance < 9 * sigma**2, ridge, 0).to(cells.dtype)


def spline(points: Tensor, *, steps: int = 4) -> Tensor:
    """Sample the interpolating spline of degree min(3, m - 1) through points, parametrised by chord length.

    The cubic spline has no knot at the second and the second-last point ("not a knot", as common spline fits do).

    Args:
        points: (B, m, 2), m at least 2.
        steps: samples per segment between two points.

    Returns:
        (B, (m - 1) steps + 1, 2) float64; NaN for a curve with a NaN.
    """
    count = points.shape[1]
    missing = ~points.isfinite().all(dim=2).all(dim=1)
    through = points.nan_to_num().double()
    chord = (through[:, 1:] - through[:, :-1]).norm(dim=2)
    chord = chord.clamp_min(1e-6) + 1e-3 * chord.sum(dim=1, keepdim=True)  # keeps coinciding points apart
    at = torch.cat([torch.zeros_like(chord[:, :1]), chord.cumsum(dim=1)], dim=1)
    at = at / at[:, -1:]
    knots = at[:, 2 : count - 2]
    coefficients = torch.linalg.solve(_powers(at, knots, min(3, count - 1)), through)
    part = torch.arange(steps * (count - 1) + 1, device=points.device, dtype=torch.float64) / steps
    before = part.long().clamp_max(count - 2)
    fine = at[:, before] + (part - before) * (at[:, before + 1] - at[:, before])
    curve: Tensor = _powers(fine, knots, min(3, count - 1)) @ coefficients
    return curve.masked_fill(missing[:, None, None], torch.nan)


def _powers(at: Tensor, knots: Tensor, degree: int) -> Tensor:
    """Return powers of the parameter (B, k) up to ``degree`` and a truncated cube per knot (B, q).

    Returns:
        (B, k, degree + 1 + q).
    """
    powers = at[..., None] ** torch.arange(degree + 1, device=at.device)
    return torch.cat([powers, (at[..., None] - knots[:, None]).clamp_min(0) ** 3], dim=2)


def _distance(curve: Tensor, height: int, width: int) -> Tensor:
    """Return the squared distance (B, height, width) of each cell from a polyline (B, k, 2); infinite if it is NaN."""
    line = curve.float()
    start, along = line[:, :-1, :, None, None], (line[:, 1:] - line[:, :-1])[..., None, None]
    x = torch.arange(width, device=line.device) - start[:, :, 0]
    y = torch.arange(height, device=line.device)[:, None] - start[:, :, 1]
    part = (x * along[:, :, 0] + y * along[:, :, 1]) / along.square().sum(dim=2).clamp_min(1e-12)
    part = part.clamp(0, 1)
    apart = (x - part * along[:, :, 0]).square() + (y - part * along[:, :, 1]).square()
    return apart.amin(dim=1).nan_to_num(nan=torch.inf)


def _known(cells: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the landmarks without NaN, and the mask (B, n) of those that are annotated."""
    finite = cells.isfinite().all(dim=2)
    mask = finite if known is None else finite & (known > 0)
    return cells.nan_to_num(), mask.to(cells.dtype)


def _nearest(points: Tensor) -> Tensor:
    """Return the nearest cell; halves are rounded up (``round`` would round them to the even cell)."""
    return (points + 0.5).floor()
