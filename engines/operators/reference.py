"""NumPy references of the operators: slow, in float64, the specification of the kernels.

The kernels are in ``engines/operators/cuda``. The centre of the top-left pixel, and of the top-left cell of a map, is
(0, 0). Cell j of a map of scale s (cells per pixel) is centred on pixel (j + 0.5) / s - 0.5. docs/plugins.md describes
the same operators in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[Any]

ColourStandard = Literal["bt601", "bt709", "bt2020"]
# weights of red and blue in the luma of each standard
_LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
# A crop whose pixels each cover more than this many pixels of the frame, along one axis, samples a halved frame.
MOST_REDUCTION = 2.5


def multi_level_roi_align(
    levels: Sequence[Numbers],
    rois: Numbers,
    *,
    scales: Sequence[float],
    output_size: int,
    sampling_ratio: int = 2,
    normalize: bool = True,
    epsilon: float = 1e-12,
) -> Array:
    """Pool the features of each region from each level, L2-normalise them per level and concatenate them.

    Args:
        levels: maps (B, C, H, W); channels, height and width may differ between maps.
        rois: (K, 5): image index, x0, y0, x1, y1 in pixels of the image.
        scales: cells per pixel of each level, e.g. 1/16.
        output_size: bins along each side of a region.
        sampling_ratio: samples along each side of a bin.
        normalize: divide by the L2 norm over the channels of a level, at each bin.
        epsilon: lower limit of the norm.

    Returns:
        Features (K, sum of C, output_size, output_size). An empty or inverted box samples its top-left corner only. A
        region whose image index is not in 0..B-1 is zero, and so is every sample one cell or more outside a map.
    """
    pooled = [
        np.stack([_region(maps, roi, scale, output_size, sampling_ratio) for roi in np.asarray(rois, np.float64)])
        if len(rois)
        else np.zeros((0, maps.shape[1], output_size, output_size))
        for maps, scale in zip(levels, scales, strict=True)
    ]
    if normalize:
        pooled = [part / np.maximum(np.sqrt((part**2).sum(axis=1, keepdims=True)), epsilon) for part in pooled]
    return np.concatenate(pooled, axis=1)


def _region(maps: Numbers, roi: Array, scale: float, bins: int, sampling: int) -> Array:
    """Return the features (C, bins, bins) of one region. Pooling is separable: one matrix per axis."""
    batch, channels, height, width = maps.shape
    index, x0, y0, x1, y1 = roi.tolist()
    if not 0 <= index < batch:
        return np.zeros((channels, bins, bins))
    down = bin_weights(y0, y1, height, scale, bins, sampling)
    across = bin_weights(x0, x1, width, scale, bins, sampling)
    features: Array = down @ maps[int(index)].astype(np.float64) @ across.T
    return features


def bin_weights(low: float, high: float, cells: int, scale: float, bins: int, sampling: int) -> Array:
    """Return the weight of each cell of an axis in each bin, (bins, cells).

    Args:
        low, high: extent of the box along this axis, in pixels of the image.
        cells: number of cells of the map.
        scale: cells per pixel.
        bins: number of bins of the region.
        sampling: samples per bin.
    """
    weights = np.zeros((bins, cells))
    steps = bins * sampling
    for step in range(steps):
        place = low + max(high - low, 0.0) * (step + 0.5) / steps
        cell = (place + 0.5) * scale - 0.5
        if not -1 < cell < cells:
            continue  # zero from one cell outside the map; closer samples take the value at the border
        cell = min(max(cell, 0.0), cells - 1.0)
        first = int(cell)
        weights[step // sampling, first] += (1 - (cell - first)) / sampling
        weights[step // sampling, min(first + 1, cells - 1)] += (cell - first) / sampling
    return weights


def location_reweight(maps: Numbers, *, threshold: float = 0.5) -> tuple[Array, Array]:
    """Return the mean position of the cells that reach ``threshold``, weighted by their scores (RDFN eq. 3).

    Args:
        maps: scores (K, n, H, W).
        threshold: lowest score that counts. A map without such a cell gives the position of its highest cell (the
            first of equals), moved by a quarter of a cell towards the higher neighbour along each axis. There is no
            shift at the edge of the map or between equal neighbours.

    Returns:
        Landmarks (K, n, 2), x and y in cells, and the highest score of each map (K, n).
    """
    regions, count, height, width = maps.shape
    points, confidence = np.zeros((regions, count, 2)), np.zeros((regions, count))
    y, x = np.mgrid[:height, :width]
    for place in np.ndindex(regions, count):
        scores = maps[place].astype(np.float64)
        confidence[place] = scores.max()
        counted = np.where(scores >= threshold, scores, 0)
        if counted.any():
            points[place] = (counted * x).sum() / counted.sum(), (counted * y).sum() / counted.sum()
        else:
            row, column = divmod(int(scores.argmax()), width)
            points[place] = column + _lean(scores[row], column), row + _lean(scores[:, column], row)
    return points, confidence


def _lean(line: Array, place: int) -> float:
    """Return a shift of a quarter of a cell towards the higher neighbour on a line of scores."""
    if not 0 < place < len(line) - 1:
        return 0.0
    return 0.25 * float(np.sign(line[place + 1] - line[place - 1]))


@dataclass(frozen=True, slots=True)
class Nv12:
    """NV12 image, the output format of video decoders on a GPU.

    Attributes:
        luma: (H, W) uint8, H and W even.
        chroma: (H / 2, W / 2, 2) uint8: U and V of every 2 x 2 pixels.
        colour: matrix (3, 4) from ``yuv_to_bgr``.
    """

    luma: NDArray[np.uint8]
    chroma: NDArray[np.uint8]
    colour: Array


def yuv_to_bgr(standard: ColourStandard = "bt601", *, full_range: bool = False) -> Array:
    """Return the matrix (3, 4) that maps (Y, U, V, 1), as stored, to blue, green and red in 0..255.

    Args:
        standard: colour standard, which defines the luma weights.
        full_range: True if Y, U and V span 0..255 rather than 16..235 and 16..240.
    """
    red, blue = _LUMA[standard]
    green = 1 - red - blue
    luma, chroma, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    matrix = np.array(
        [
            [luma, 2 * (1 - blue) * chroma, 0],
            [luma, -2 * (1 - blue) * blue / green * chroma, -2 * (1 - red) * red / green * chroma],
            [luma, 0, 2 * (1 - red) * chroma],
        ]
    )
    return np.concatenate([matrix, -matrix @ [[black], [128.0], [128.0]]], axis=1)


def crop(
    frame: NDArray[np.uint8] | Nv12,
    transforms: Numbers,
    *,
    height: int,
    width: int,
    mean: Sequence[float] = (0, 0, 0),
    std: Sequence[float] = (1, 1, 1),
    rgb: bool = False,
) -> Array:
    """Crop a frame as ``realtime.values.geometry.warp`` and ``to_tensor`` do, but without rounding to bytes.

    Args:
        frame: BGR (H, W, 3), or NV12.
        transforms: (N, 2, 3), each maps pixels of a crop to pixels of the frame.
        height, width: size of a crop in pixels.
        mean, std: normalisation per channel of the output, in 0..255.
        rgb: channel order of the output is RGB, else BGR.

    Returns:
        Crops (N, 3, height, width). Pixels outside the frame are black before normalisation.
    """
    crops = np.zeros((len(transforms), 3, height, width))
    for out, matrix in zip(crops, np.asarray(transforms, np.float64), strict=True):
        if isinstance(frame, Nv12):
            chroma = frame.chroma.repeat(2, axis=0).repeat(2, axis=1)
            planes = np.concatenate([frame.luma[..., None], chroma, np.ones_like(frame.luma)[..., None]], axis=2)
            # the last plane is the fraction of a pixel inside the frame, so that the outside is black, not green
            out[...] = np.clip(frame.colour @ _sample(planes, matrix, height, width), 0, 255).reshape(3, height, width)
        else:
            out[...] = _sample(frame, matrix, height, width).reshape(3, height, width)
    if rgb:
        crops = crops[:, ::-1]
    normalised: Array = (crops - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    return normalised


def halvings(matrix: Numbers, frame: tuple[int, int], crop_size: tuple[int, int]) -> int:
    """Return the number of times a frame (height, width) is halved before a crop (height, width) is sampled.

    The frame is halved while a pixel of the crop covers more than 2.5 pixels of the halved frame by ``matrix``, and the
    halved frame has at least twice the height and width of the crop.
    """
    reduction, count = math.hypot(matrix[0, 0], matrix[1, 0]), 0
    high, wide = frame
    while reduction > MOST_REDUCTION and high >= 2 * crop_size[0] and wide >= 2 * crop_size[1]:
        reduction, high, wide, count = reduction / 2, (high + 1) // 2, (wide + 1) // 2, count + 1
    return count


def _sample(planes: Numbers, matrix: Array, height: int, width: int) -> Array:
    """Sample the frame bilinearly at each pixel of the crop, zero outside: (planes, height x width)."""
    block = 2 ** halvings(matrix, planes.shape[:2], (height, width))
    down, across = (_blocks(size, block) for size in planes.shape[:2])
    halved = np.einsum("rh,hwp,cw->rcp", down, planes.astype(np.float64), across, optimize=True)
    v, u = np.mgrid[:height, :width].reshape(2, -1)
    x, y = (matrix @ [u, v, np.ones_like(u)] + 0.5) / block - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    sampled = np.zeros((planes.shape[2], height * width))
    for row, column, weight in (
        (top, left, (1 - (y - top)) * (1 - (x - left))),
        (top, left + 1, (1 - (y - top)) * (x - left)),
        (top + 1, left, (y - top) * (1 - (x - left))),
        (top + 1, left + 1, (y - top) * (x - left)),
    ):
        inside = (row >= 0) & (row < len(down)) & (column >= 0) & (column < len(across))
        sampled[:, inside] += weight[inside] * halved[row[inside], column[inside]].T
    return sampled


def _blocks(pixels: int, block: int) -> Array:
    """Return the averaging matrix (blocks, pixels) over runs of ``block`` pixels; the last run may be shorter."""
    member = np.arange(pixels)[None] // block == np.arange(-(-pixels // block))[:, None]
    shares: Array = member / member.sum(axis=1, keepdims=True)
    return shares
