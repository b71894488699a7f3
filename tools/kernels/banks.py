"""Number of L1 cache passes of warps, from the addresses that their threads access.

A multiprocessor holds its L1 cache and shared memory in 32 banks of 4-byte words, and looks up four lines of 128 bytes
at a time. Accesses to different words of one bank, or to more than four lines, take another pass. (Compute capability
7.0 and later: CUDA programming guide, "Shared Memory"; NVIDIA on the tag stage of L1TEX in its developer forum.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

WARP = 32
_BANKS = 32
_LINES = 4  # lines looked up at a time
_LINE_WORDS = 32
# limits of a block of the kernel for planar maps: multi_level_roi_align.cuh
_THREADS, _MOST_BINS, _MOST_CHANNELS = 256, 32, 8192

Words = NDArray[np.int64]
Mask = NDArray[np.bool_]


def passes(words: Words, active: Mask | None = None) -> int:
    """Return the number of passes of warps that read or write one word per thread.

    Args:
        words: (..., 32) index of the memory word that each thread of each warp accesses.
        active: (..., 32) True for threads that access memory (default: all).
    """
    words = words.reshape(-1, WARP)
    active = np.ones(words.shape, np.bool_) if active is None else active.reshape(words.shape)
    words, active = words[active.any(axis=1)], active[active.any(axis=1)]
    some = np.take_along_axis(words, active.argmax(axis=1)[:, None], axis=1)
    asked = np.sort(np.where(active, words, some), axis=1)
    new = np.diff(asked, axis=1, prepend=asked[:, :1] - 1) != 0
    lines = (np.diff(asked // _LINE_WORDS, axis=1) != 0).sum(axis=1) + 1
    warp, _ = np.nonzero(new)
    per_bank = np.bincount(warp * _BANKS + asked[new] % _BANKS, minlength=len(words) * _BANKS).reshape(-1, _BANKS)
    return int(np.maximum(per_bank.max(axis=1, initial=0), -(-lines // _LINES)).sum())


def of_planes(
    down: Mask, across: Mask, *, channels: int, sampling_ratio: int, size: int, normalize: bool
) -> tuple[float, float]:
    """Return the passes of ``multi_level_roi_align`` for a region of a planar map: reads of the map, and all others.

    Blocks and threads are those of ``multi_level_roi_align_planes.cuh``, which processes some channels at a time; the
    next channels use the same banks, rotated. The norms of a region are not counted.

    Args:
        down, across: (bins, height) and (bins, width), True for the cells of each axis that contribute to a bin.
        channels: number of channels of the map.
        sampling_ratio, normalize: as in the operator.
        size: size of an element in bytes.
    """
    bins, most = len(down), min(_MOST_BINS, _MOST_CHANNELS // channels) if normalize else _MOST_BINS
    block = (_evenly(bins, most // bins) if most >= bins else 1, _evenly(bins, most))
    rows, columns = (_Cells.of(each, 2 * sampling_ratio) for each in (down, across))
    plane, total = (down.shape[1], across.shape[1]), np.zeros(2)
    for y in range(0, bins, block[0]):
        for x in range(0, bins, block[1]):
            some = rows[y : y + block[0]], columns[x : x + block[1]]
            total += channels * _of_block(*some, plane, (y * bins + x, bins), size, normalize)
    return float(total[0]), float(total[1])


def of_crop(
    frame: tuple[int, int],
    transform: NDArray[np.float32],
    *,
    height: int,
    width: int,
    kind: Literal["bgr", "nv12"],
) -> int:
    """Return the passes of the reads of ``crop`` for one crop of an unhalved frame; a warp computes 32 pixels of a row.

    Args:
        frame: height and width in pixels; rows of BGR are whole words, and the chroma plane follows the luma plane.
        transform: (2, 3) as in the operator.
        height, width: size of the crop in pixels.
        kind: pixel format of the frame.
    """
    v, u = np.mgrid[:height, : -(-width // WARP) * WARP]
    places = np.floor(transform.astype(np.float64) @ np.stack([u, v, np.ones_like(u)]).reshape(3, -1))
    x, y = (np.clip(each, 0, most - 2).astype(np.int64) for each, most in zip(places, frame[::-1], strict=True))
    within, count = (u < width).ravel(), 0
    for row in (y, y + 1):
        if kind == "bgr":  # two pixels are six bytes, in two or three words
            word = (row * frame[1] + x) * 3 // 4
            count += passes(word, within) + passes(word + 1, within) + passes(word + 2, within & (3 * x % 4 == 3))
            continue
        for column in (x, x + 1):
            chroma = frame[0] * frame[1] + row // 2 * frame[1] + column // 2 * 2
            count += passes((row * frame[1] + column) // 4, within) + passes(chroma // 4, within)
    return count


@dataclass(frozen=True, slots=True)
class _Cells:
    """Cells that contribute to bins: indices ``at`` (bins, taps), of which the first ``count`` (bins,) are valid."""

    at: Words
    count: Words

    @classmethod
    def of(cls, mask: Mask, taps: int) -> _Cells:
        first_true = np.argsort(~mask, axis=1, kind="stable")[:, :taps]
        return cls(np.pad(first_true, ((0, 0), (0, max(taps - mask.shape[1], 0)))), mask.sum(axis=1))

    def __getitem__(self, bins: slice) -> _Cells:
        return _Cells(self.at[bins], self.count[bins])

    @property
    def span(self) -> tuple[int, int]:
        """First and last cell."""
        some = self.at[np.arange(self.at.shape[1]) < self.count[:, None]]
        return (int(some.min()), max(int(some.max()), int(some.min()) + 1)) if some.size else (0, 1)


def _of_block(
    rows: _Cells, columns: _Cells, plane: tuple[int, int], out: tuple[int, int], size: int, normalize: bool
) -> NDArray[np.float64]:
    """Return the passes per channel of a block: reads of the map, and all others."""
    (height, width), taps = plane, columns.at.shape[1]
    thread, slot = np.arange(_THREADS), np.arange(taps)[:, None]
    left, right = columns.span
    if right - left < taps * len(columns.count):
        cells, places = np.arange(left, right + 1), columns.at - left
    else:
        cells, places = columns.at.ravel(), np.arange(columns.at.size).reshape(columns.at.shape)

    sums = len(rows.count) * len(cells)
    channel, row, column = thread // sums, thread % sums // len(cells), thread % len(cells)
    most = int(rows.count.max())  # all threads read this many rows, or two; with fewer rows they wrap around
    slots = 0 if not most else taps if most > 3 else max(most, 2)
    rotated = (np.where(slot < rows.count[row], slot, 0) + channel + row) % np.maximum(rows.count[row], 1)
    read = channel * height * width + rows.at[row, rotated] * width + cells[column]
    busy = channel < _THREADS // sums
    reads = passes((read * size // 4)[:slots], np.broadcast_to(busy, (slots, _THREADS))) / (_THREADS // sums)
    others = passes(thread, busy) / (_THREADS // sums)

    bins = len(rows.count) * len(columns.count)
    channel, row, column = thread // bins, thread % bins // len(columns.count), thread % len(columns.count)
    read = channel * sums + row * len(cells) + places[column, slot]
    written = channel * out[1] ** 2 + out[0] + row * out[1] + column
    busy = channel < _THREADS // bins
    each = passes(read, busy & (slot < columns.count[column])) + passes(written * size // 4, busy)
    each += 2 * normalize * passes(thread, busy)  # a value is written to shared memory and read back
    return np.array([reads, others + each / (_THREADS // bins)])


def _evenly(count: int, limit: int) -> int:
    """Return the size of the parts when ``count`` is split evenly into the fewest parts of at most ``limit``."""
    return -(-count // -(-count // limit))
