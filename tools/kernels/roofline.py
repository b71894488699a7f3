"""What the kernels of ``engines/operators/cuda`` must do, counted, and how quickly a GPU can do it.

The counts are made by hand from the algorithm, not read from the machine code, so that what a compiler or a kernel adds
shows as a lower share of the roof. Only the passes through the L1 cache are those that a kernel's own order of threads
takes, by the addresses that follow from it.
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
"""Bytes that the L1 cache, or shared memory, delivers a clock."""
_ISSUE = 4 * WARP  # four schedulers of a multiprocessor, each one instruction of a warp a clock; since 7.0
# float32 lanes of a multiprocessor, by compute capability (CUDA programming guide, throughput of instructions)
_LANES = {"7.0": 64, "7.2": 64, "7.5": 64, "8.0": 64}
_NEWER_LANES = 128
_CLOCK, _MULTIPROCESSORS, _CACHE = 13, 16, 38  # attributes of a device: kHz, count, bytes of L2


@dataclass(frozen=True, slots=True)
class Work:
    """What one call must do at least.

    Attributes:
        read: bytes that come from device memory, each once.
        written: bytes that go there.
        passes: through the L1 cache or shared memory, of at most 128 bytes each (see ``banks``).
        instructions: of all threads: arithmetic, conversions, comparisons, addresses, loads and stores.
        arithmetic: those of them that add or multiply float32; a multiply-add is one.
    """

    read: int
    written: int
    passes: float
    instructions: float
    arithmetic: float

    @property
    def bytes(self) -> int:
        """Traffic of the device memory."""
        return self.read + self.written


@dataclass(frozen=True, slots=True)
class Roofs:
    """What a GPU can do in a second.

    Attributes:
        memory: bytes read and written; measured, by a copy.
        passes: of 128 bytes through the L1 caches.
        instructions: issued, of all threads.
        arithmetic: float32 additions, multiplications or multiply-adds.
        cache: bytes of its L2 cache.
    """

    memory: float
    passes: float
    instructions: float
    arithmetic: float
    cache: int

    def seconds(self, work: Work) -> Mapping[Roof, float]:
        """Least time of a call that is repeated, by each roof. What fits the L2 cache is not bound by memory."""
        least: dict[Roof, float] = {
            "L1": work.passes / self.passes,
            "instructions": work.instructions / self.instructions,
            "arithmetic": work.arithmetic / self.arithmetic,
        }
        return least if work.bytes <= self.cache else {"memory": work.bytes / self.memory, **least}

    def binding(self, work: Work) -> tuple[Roof, float]:
        """The roof that binds a call, and its least time in seconds."""
        least = self.seconds(work)
        roof = max(least, key=lambda each: least[each])
        return roof, least[roof]


def roofs(gpu: Gpu, memory: float) -> Roofs:
    """The roofs of a GPU at its highest clock, by what its driver says of it.

    Args:
        gpu: which one.
        memory: bytes a second of its memory, as measured.
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
    """The work of ``multi_level_roi_align``.

    A bin is made of some rows of a map and some columns, at most 2 r of each with r samples a side; fewer where samples
    share them. With the channels last, each of their cells is read, multiplied and added, and each row once more. Of
    planes a row of bins sums the rows of every column that it needs, which goes to shared memory, and each bin its
    columns there. A read of a map takes two instructions for its 64-bit address. With the channels last, reads and
    addresses serve 4 float32 or 8 float16 values. Of float16 what is read and what is written is converted. Normalised,
    each value is squared, waits in shared memory and is multiplied. The weights of the bins are not counted: they serve
    all channels.

    Args:
        levels: channels, height, width and cells per pixel of each map.
        rois: (K, 5) as of the operator.
        output_size, sampling_ratio, normalize, half, channels_last: as of the operator.
    """
    size = 2 if half else 4
    at_once = 16 // size if channels_last else 1
    values = len(rois) * output_size**2 * sum(channels for channels, *_ in levels)
    kept = 2 / 4 if channels_last else 2  # a value goes to shared memory and comes back, four at a time or alone
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
    """Passes of a warp for each value, where threads read ``at_once`` values of ``size`` bytes, one after the other."""
    return math.ceil(WARP * size * at_once / LINE) / at_once


def of_points(shape: tuple[int, int, int, int], *, half: bool = False) -> Work:
    """The work of ``location_reweight`` on maps (K, n, H, W) of which few cells reach the threshold.

    A cell is compared with the highest so far, which it and its place may replace, and with the threshold: four
    instructions, a conversion of float16, and its share of a load of 16 bytes. Nothing is added where none reaches it.
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
        "where it lies: 2 multiply-adds": 2,
        "whether that is within: 4 comparisons, a branch": 5,
        "whole part and rest: 2 x (to integer, back, minus)": 6,
        "weights of four pixels": 6,
        "addresses of two rows": 7,
        "reads: 3 words of a row": 6,
        "words put right by a shift": 4,
        "bytes taken out of words": 12,
        "bytes to float32": 12,
        "multiply-adds": 12,
        "normalised: 3 multiply-adds": 3,
        "writes, and where to": 6,
    },
    "nv12": {
        "where it lies: 2 multiply-adds": 2,
        "whether that is within: 4 comparisons, a branch": 5,
        "whole part and rest: 2 x (to integer, back, minus)": 6,
        "weights of four pixels": 6,
        "addresses of two rows of each plane": 12,
        "reads: 4 of luma, 4 of chroma": 8,
        "bytes taken out of pairs": 8,
        "bytes to float32": 12,
        "multiply-adds": 12,
        "to blue, green, red: 3 x 4": 12,
        "limited to 0..255": 6,
        "normalised: 3 multiply-adds": 3,
        "writes, and where to": 6,
    },
}
"""Instructions of ``crop`` for one pixel of a crop that shows the frame unhalved."""
_PIXEL_ARITHMETIC = {"bgr": 2 + 2 + 5 + 12 + 12 + 3, "nv12": 2 + 2 + 5 + 8 + 12 + 12 + 3}
_LOOKED_AT = 64  # crops whose reads are followed one by one; they stand for the others


def of_crops(
    frame: tuple[int, int],
    transforms: NDArray[np.float32],
    *,
    height: int,
    width: int,
    kind: Literal["bgr", "nv12"] = "bgr",
    half: bool = False,
) -> Work:
    """The work of ``crop`` where no crop halves the frame: ``PIXEL`` for each pixel, 3 conversions more to float16.

    A warp makes 32 pixels of a row, which in the frame lie along a slanted line.

    Args:
        frame: height and width in pixels; BGR in rows of whole words.
        transforms: (N, 2, 3) as of the operator.
        height, width: of a crop.
        kind: how the frame is stored.
        half: the output is float16.
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
    """The pixels of the frame that crops are made of."""
    v, u = np.mgrid[:height, :width].reshape(2, -1)
    places = np.stack([u, v, np.ones_like(u)]).astype(np.float64)
    corners = np.zeros((frame[0] + 3, frame[1] + 3), np.bool_)  # the upper left of four pixels, from (-2, -2) on
    for matrix in transforms:
        left, top = np.floor(matrix @ places).astype(int)
        corners[np.clip(top, -2, frame[0]) + 2, np.clip(left, -2, frame[1]) + 2] = True
    # what was clipped lies beyond the pixels that are taken
    rows = corners[2:-1] | corners[1:-2]
    return rows[:, 2:-1] | rows[:, 1:-2]
