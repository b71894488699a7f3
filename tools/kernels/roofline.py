"""Roofline model: least work of the CUDA kernels, and the limits of a GPU.

The counts are derived by hand from the algorithms of ``engines/operators/cuda``, not read from the machine code.
Overhead added by a compiler or a kernel therefore shows as a lower share of the roof. The exception is the passes
through the L1 cache: they follow from the addresses in the order of threads that a kernel uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...engines.gpu.driver import Gpu, Library
from ...engines.operators import reference
from . import banks
from .banks import WARP

Roof = Literal["memory", "L1", "instructions", "arithmetic"]

LINE = 128
"""Bytes that the L1 cache or shared memory delivers per clock."""
_ISSUE = 4 * WARP  # four schedulers per multiprocessor, each one warp instruction per clock; since 7.0
# float32 lanes per multiprocessor, by compute capability (CUDA programming guide, throughput of instructions)
_LANES = {"7.0": 64, "7.2": 64, "7.5": 64, "8.0": 64}
_NEWER_LANES = 128
_CLOCK, _MULTIPROCESSORS, _CACHE = 13, 16, 38  # device attributes: kHz, count, bytes of L2


@dataclass(frozen=True, slots=True)
class Work:
    """Least work of one call.

    Attributes:
        read: bytes read from device memory, each once.
        written: bytes written to device memory.
        passes: passes through the L1 cache or shared memory, of at most 128 bytes each (see ``banks``).
        instructions: instructions of all threads: arithmetic, conversions, comparisons, addresses, loads and stores.
        arithmetic: instructions among them that add or multiply float32; a multiply-add counts as one.
    """

    read: int
    written: int
    passes: float
    instructions: float
    arithmetic: float

    @property
    def bytes(self) -> int:
        """Traffic of device memory in bytes."""
        return self.read + self.written


@dataclass(frozen=True, slots=True)
class Roofs:
    """Limits of a GPU, per second.

    Attributes:
        memory: bytes read and written; measured by a copy.
        passes: passes of 128 bytes through the L1 caches.
        instructions: instructions issued, of all threads.
        arithmetic: float32 additions, multiplications or multiply-adds.
        cache: size of the L2 cache in bytes (not per second).
    """

    memory: float
    passes: float
    instructions: float
    arithmetic: float
    cache: int

    def seconds(self, work: Work) -> Mapping[Roof, float]:
        """Return the least time of a repeated call by each roof; work that fits in the L2 cache has no memory roof."""
        least: dict[Roof, float] = {
            "L1": work.passes / self.passes,
            "instructions": work.instructions / self.instructions,
            "arithmetic": work.arithmetic / self.arithmetic,
        }
        return least if work.bytes <= self.cache else {"memory": work.bytes / self.memory, **least}

    def binding(self, work: Work) -> tuple[Roof, float]:
        """Return the roof that binds a call, and its least time in seconds."""
        least = self.seconds(work)
        roof = max(least, key=lambda each: least[each])
        return roof, least[roof]


def roofs(gpu: Gpu, memory: float) -> Roofs:
    """Return the roofs of a GPU at its highest clock, from the attributes that its driver reports.

    Args:
        gpu: the GPU.
        memory: measured memory bandwidth in bytes per second.
    """
    library = Library()
    device = library.number("cuDeviceGet", gpu.number)
    clock, count, cache = (
        library.number("cuDeviceGetAttribute", each, device) for each in (_CLOCK, _MULTIPROCESSORS, _CACHE)
    )
    ticks = 1000.0 * clock * count
    return Roofs(memory, ticks, _ISSUE * ticks, _LANES.get(gpu.capability, _NEWER_LANES) * ticks, cache)


def of_regions(
    levels: Sequence[tuple[int, int, int, float]],
    rois: NDArray[np.float32],
    *,
    output_size: int,
    sampling_ratio: int = 2,
    normalize: bool = True,
    half: bool = False,
    channels_last: bool = False,
) -> Work:
    """Return the work of ``multi_level_roi_align``.

    A bin is a weighted sum of some rows and columns of a map: at most 2 r of each with r samples per side, fewer if
    samples share them. With channels last, each cell is read, multiplied and added, and each row once more. With planar
    maps, a row of bins first sums the rows of each column that it needs into shared memory, and each bin then sums its
    columns there. A read of a map takes two instructions for its 64-bit address. With channels last, reads and
    addresses serve 4 float32 or 8 float16 values. Values of float16 are converted when read and when written. If
    normalised, each value is squared, kept in shared memory and multiplied. The weights of the bins are not counted:
    they serve all channels.

    Args:
        levels: channels, height, width and cells per pixel of each map.
        rois: (K, 5) as in the operator.
        output_size, sampling_ratio, normalize, half, channels_last: as in the operator.
    """
    size = 2 if half else 4
    at_once = 16 // size if channels_last else 1
    values = len(rois) * output_size**2 * sum(channels for channels, *_ in levels)
    kept = 2 / 4 if channels_last else 2  # a value is written to shared memory and read back, four at a time or alone
    cells = reads = shared = sums = passes = 0.0
    for channels, height, width, scale in levels:
        needed: dict[float, NDArray[np.bool_]] = {}
        for image, x0, y0, x1, y1 in rois.tolist():
            down = reference.bin_weights(y0, y1, height, scale, output_size, sampling_ratio) != 0
            across = reference.bin_weights(x0, x1, width, scale, output_size, sampling_ratio) != 0
            mask = needed.setdefault(image, np.zeros((height, width), np.bool_))
            mask |= np.outer(down.any(axis=0), across.any(axis=0))
            if channels_last:
                reads += channels * int(down.sum()) * int(across.sum())
                sums += channels * int(down.sum()) * output_size
            else:
                columns = int(across.any(axis=0).sum())
                reads += channels * int(down.sum()) * columns
                sums += channels * int(across.sum()) * output_size
                shared += channels * (columns + int(across.sum())) * output_size
                passes += sum(
                    banks.of_planes(
                        down, across, channels=channels, sampling_ratio=sampling_ratio, size=size, normalize=normalize
                    )
                )
        cells += channels * sum(int(mask.sum()) for mask in needed.values())
    if channels_last:
        passes = ((reads + values) * _passes(size, at_once) + values * 2 * normalize) / WARP
    arithmetic = reads + sums + values * 2 * normalize
    others = reads * (3 / at_once + half) + shared + values * (1 / at_once + half + kept * normalize)
    return Work(
        read=int(size * cells) + rois.nbytes,
        written=size * values,
        passes=passes,
        instructions=arithmetic + others,
        arithmetic=arithmetic,
    )


def _passes(size: int, at_once: int) -> float:
    """Return the passes of a warp per value if each thread reads ``at_once`` adjacent values of ``size`` bytes."""
    return math.ceil(WARP * size * at_once / LINE) / at_once


def of_points(shape: tuple[int, int, int, int], *, half: bool = False) -> Work:
    """Return the work of ``location_reweight`` on maps (K, n, H, W) in which few cells reach the threshold.

    Each cell is compared with the maximum so far, whose value and index it may replace, and with the threshold: four
    instructions, a conversion for float16, and its share of a 16-byte load. No sums are counted: few cells reach the
    threshold.
    """
    regions, points, height, width = shape
    maps, size = regions * points, 2 if half else 4
    cells = maps * height * width
    return Work(
        read=size * cells,
        written=12 * maps,
        passes=size * cells / LINE,
        instructions=cells * (4 + half + size / 16),
        arithmetic=0.0,
    )


PIXEL: Mapping[str, Mapping[str, int]] = {
    "bgr": {
        "position: 2 multiply-adds": 2,
        "bounds: 4 comparisons, a branch": 5,
        "integer and fractional part: 2 x (to integer, back, minus)": 6,
        "weights of four pixels": 6,
        "addresses of two rows": 7,
        "reads: 3 words of a row": 6,
        "words aligned by a shift": 4,
        "bytes extracted from words": 12,
        "bytes to float32": 12,
        "multiply-adds": 12,
        "normalised: 3 multiply-adds": 3,
        "writes and their addresses": 6,
    },
    "nv12": {
        "position: 2 multiply-adds": 2,
        "bounds: 4 comparisons, a branch": 5,
        "integer and fractional part: 2 x (to integer, back, minus)": 6,
        "weights of four pixels": 6,
        "addresses of two rows of each plane": 12,
        "reads: 4 of luma, 4 of chroma": 8,
        "bytes extracted from pairs": 8,
        "bytes to float32": 12,
        "multiply-adds": 12,
        "to blue, green, red: 3 x 4": 12,
        "clamp to 0..255": 6,
        "normalised: 3 multiply-adds": 3,
        "writes and their addresses": 6,
    },
}
"""Instructions of ``crop`` for one pixel of a crop from the unhalved frame."""
_PIXEL_ARITHMETIC = {"bgr": 2 + 2 + 5 + 12 + 12 + 3, "nv12": 2 + 2 + 5 + 8 + 12 + 12 + 3}
_LOOKED_AT = 64  # crops whose reads are counted exactly; they represent the others


def of_crops(
    frame: tuple[int, int],
    transforms: NDArray[np.float32],
    *,
    height: int,
    width: int,
    kind: Literal["bgr", "nv12"] = "bgr",
    half: bool = False,
) -> Work:
    """Return the work of ``crop`` if no crop halves the frame: ``PIXEL`` per pixel, plus 3 conversions for float16.

    A warp computes 32 pixels of a row of the crop, which lie along a slanted line in the frame.

    Args:
        frame: height and width in pixels; rows of BGR are whole words.
        transforms: (N, 2, 3) as in the operator.
        height, width: size of a crop in pixels.
        kind: pixel format of the frame.
        half: True if the output is float16.
    """
    pixels = len(transforms) * height * width
    seen = _seen(frame, transforms, height, width)
    if kind == "nv12":
        read = int(seen.sum() + 2 * seen.reshape(frame[0] // 2, 2, frame[1] // 2, 2).any(axis=(1, 3)).sum())
    else:
        read = 3 * int(seen.sum())
    some = transforms[:_LOOKED_AT]
    reads = sum(banks.of_crop(frame, each, height=height, width=width, kind=kind) for each in some)
    return Work(
        read=read + transforms.nbytes,
        written=3 * (2 if half else 4) * pixels,
        passes=len(transforms) * (reads / max(len(some), 1) + 3 * height * math.ceil(width / WARP)),
        instructions=pixels * (sum(PIXEL[kind].values()) + 3 * half),
        arithmetic=pixels * _PIXEL_ARITHMETIC[kind],
    )


def _seen(frame: tuple[int, int], transforms: NDArray[np.float32], height: int, width: int) -> NDArray[np.bool_]:
    """Return a mask of the frame pixels that the crops read."""
    v, u = np.mgrid[:height, :width].reshape(2, -1)
    places = np.stack([u, v, np.ones_like(u)]).astype(np.float64)
    corners = np.zeros((frame[0] + 3, frame[1] + 3), np.bool_)  # upper left pixels of 2 x 2 blocks, from (-2, -2) on
    for matrix in transforms:
        left, top = np.floor(matrix @ places).astype(int)
        corners[np.clip(top, -2, frame[0]) + 2, np.clip(left, -2, frame[1]) + 2] = True
    # clipped blocks lie outside the rows and columns that are returned
    rows = corners[2:-1] | corners[1:-2]
    return rows[:, 2:-1] | rows[:, 1:-2]
