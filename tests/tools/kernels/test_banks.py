"""Passes through the L1 cache: patterns that can be worked out by hand, and the reads that the kernels make."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nasion.engines.operators import reference
from nasion.engines.operators.bindings import Kernels
from nasion.tools.kernels.banks import WARP, of_crop, of_planes, passes

from ...support.operators.native import Array, Host, build_emulated, crop, roi_align
from ...support.operators.operator_suite import image_of, nv12_of

pytestmark = pytest.mark.timeout(600)  # the kernels may have to be compiled first
THREAD = np.arange(WARP)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (THREAD, 1),
        (THREAD + 5, 1),  # two lines, all banks
        (THREAD // 2, 1),  # float16: two to a word
        (THREAD * 0, 1),
        (THREAD * 2, 2),
        (THREAD * 32, 32),  # one bank
        (THREAD * 33, 8),  # each in a bank and in a line of its own: four lines at a time
        (THREAD % 7 + THREAD // 7 * 320, 5),  # five rows of seven, all in the same banks
        (np.stack([THREAD, THREAD * 2]), 3),
        (np.zeros((0, WARP), np.int64), 0),
    ],
)
def test_words_of_one_bank_wait_for_each_other(words: Array, count: int) -> None:
    assert passes(words) == count


def test_a_thread_that_reads_nothing_takes_no_part() -> None:
    assert passes(THREAD * 33, THREAD < 8) == 2
    assert passes(np.stack([THREAD * 32, THREAD]), np.stack([THREAD == 9, THREAD < 0])) == 1


class Watched:
    """The emulated kernels, and what they read."""

    def __init__(self, library: Path) -> None:
        self.host = Host(Kernels(library))
        self._library = ctypes.CDLL(str(library))
        self._library.nasion_emulated_reads.restype = ctypes.c_uint64

    def reads(self, call: Callable[[], object]) -> Array:
        """Block, thread and address of each."""
        self._library.nasion_emulated_watch(1)
        try:
            call()
            first = ctypes.POINTER(ctypes.c_uint64)()
            count = self._library.nasion_emulated_reads(ctypes.byref(first))
            return np.ctypeslib.as_array(first, (count, 3)).astype(np.int64)
        finally:
            self._library.nasion_emulated_watch(0)


@pytest.fixture(scope="module")
def watched() -> Watched:
    return Watched(build_emulated())


def passes_of(reads: Array, *, skip: int = 0) -> int:
    """Return the passes of reads: the n-th reads of the threads of a warp are one instruction.

    Args:
        reads: block, thread and address of each.
        skip: leave out so many of each thread.
    """
    block, thread, address = reads[np.lexsort((reads[:, 1], reads[:, 0]))].T  # stable: a thread's stay in their order
    owner = block * 256 + thread
    start = np.flatnonzero(np.diff(owner, prepend=-1))
    order = np.arange(len(owner)) - np.repeat(start, np.diff(start, append=len(owner)))
    owner, address, order = owner[order >= skip], address[order >= skip], order[order >= skip]
    instructions, which = np.unique((owner // WARP) * (1 << 20) + order, return_inverse=True)
    words, active = (np.zeros((len(instructions), WARP), each) for each in (np.int64, np.bool_))
    words[which, owner % WARP], active[which, owner % WARP] = address // 4, True
    return passes(words, active)


@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float32", "float16"])
@pytest.mark.parametrize(
    ("channels", "bins", "stride"),
    [(64, 14, 4), (512, 14, 8), (1024, 14, 16), (40, 5, 1)],
    ids=["rows of bins", "a row", "half a row", "far apart"],
)
def test_regions_in_planes_are_read_as_they_are_counted(
    watched: Watched, dtype: type, channels: int, bins: int, stride: int
) -> None:
    """Bins of two cells by two, so that every one has three rows: all threads make as many reads."""
    height, width, side = 128 // stride, 160 // stride, 2 * bins * (stride if stride < 16 else 4)
    level = np.zeros((1, channels, height, width), dtype)
    box = 8.0, 8.0, 8.0 + side, 8.0 + side
    if stride == 1:
        box = 2.0, 2.0, 150.0, 2.0 + side  # thirty cells across
    options = {"scales": [1 / stride], "output_size": bins}
    reads = watched.reads(lambda: roi_align(watched.host, [level], np.array([[0, *box]]), **options))
    down = reference.bin_weights(box[1], box[3], height, 1 / stride, bins, 2) != 0
    across = reference.bin_weights(box[0], box[2], width, 1 / stride, bins, 2) != 0
    counted, _ = of_planes(down, across, channels=channels, sampling_ratio=2, size=level.itemsize, normalize=True)
    assert passes_of(reads) == pytest.approx(counted, rel=0.03)  # lines may begin elsewhere


def test_a_crop_is_read_as_it_is_counted(watched: Watched) -> None:
    transform = np.float32([[1.3, -0.4, 20], [0.4, 1.3, 3]])
    frame = nv12_of(90, 120)
    reads = watched.reads(lambda: crop(watched.host, frame, transform[None], height=40, width=40))
    counted = of_crop((90, 120), transform, height=40, width=40, kind="nv12")  # and six numbers of the transform
    assert passes_of(reads, skip=6) == pytest.approx(counted, rel=0.03)


def test_a_crop_of_bgr_reads_two_words_for_two_pixels_or_three(watched: Watched) -> None:
    transform = np.float32([[1, 0, 20], [0, 1, 3]])
    reads = watched.reads(lambda: crop(watched.host, image_of(90, 120), transform[None], height=8, width=32))
    assert len(reads) == 6 * 256 + 8 * 2 * (2 * 32 + 8)
    assert of_crop((90, 120), transform, height=8, width=32, kind="bgr") == 8 * 2 * 3
