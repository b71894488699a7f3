"""Counts of work against accesses counted one by one, and the roofs of a GPU."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from nasion.engines.gpu import driver
from nasion.engines.gpu.driver import Gpu
from nasion.engines.operators import reference
from nasion.tools.kernels import roofline
from nasion.tools.kernels.roofline import PIXEL, Roofs, Work, of_crops, of_points, of_regions

from ...support.fakes import cuda as fake_cuda

LEVELS = [(8, 12, 16, 1 / 4), (16, 6, 8, 1 / 8)]
ROIS = np.float32([[0, 8, 4, 40, 30], [0, 10, 10, 30, 40], [1, 3, 3, 20, 20], [1, 500, 500, 600, 600]])
SHIFT = np.float32([[[1.25, 0, 3.5], [0, 1.25, 2.5]]])


def read_cells(level: tuple[int, int, int, float]) -> int:
    """Return the number of cells whose value changes the result of the reference."""
    channels, height, width, scale = level
    options = {"scales": [scale], "output_size": 3, "normalize": False}
    blank = np.zeros((2, 1, height, width))
    before = reference.multi_level_roi_align([blank], ROIS, **options)
    count = 0
    for place in np.ndindex(blank.shape):
        blank[place] = 1
        count += bool((reference.multi_level_roi_align([blank], ROIS, **options) != before).any())
        blank[place] = 0
    return channels * count


def test_a_map_is_read_where_a_region_depends_on_it_and_nowhere_else() -> None:
    work = of_regions(LEVELS, ROIS, output_size=3)
    assert work.read == 4 * sum(read_cells(level) for level in LEVELS) + ROIS.nbytes
    assert of_regions(LEVELS, ROIS, output_size=3, half=True).read * 2 == work.read + ROIS.nbytes


def cells_of_bins(level: tuple[int, int, int, float], roi: np.ndarray) -> tuple[list[set[int]], list[set[int]]]:
    """The rows and the columns of each bin, of 3 x 3 bins of 2 x 2 samples."""
    _, height, width, scale = level
    found = []
    for low, high, most in ((roi[2], roi[4], height), (roi[1], roi[3], width)):
        bins: list[set[int]] = [set() for _ in range(3)]
        for sample in range(6):
            cell = (low + (high - low) * (sample + 0.5) / 6 + 0.5) * scale - 0.5
            if -1 < cell < most:
                inside = min(max(cell, 0), most - 1)
                bins[sample // 2] |= {int(np.floor(inside)), int(np.ceil(inside))}
        found.append(bins)
    return found[0], found[1]


VALUES = len(ROIS) * 3 * 3 * (8 + 16)


def test_with_the_channels_last_each_cell_of_a_bin_is_read_multiplied_and_added() -> None:
    reads = rows = 0
    for level, roi in product(LEVELS, ROIS):
        down, across = cells_of_bins(level, roi)
        reads += level[0] * sum(len(row) * len(column) for row, column in product(down, across))
        rows += level[0] * sum(len(row) for row in down) * 3
    options = {"output_size": 3, "normalize": False, "channels_last": True}
    single, half = of_regions(LEVELS, ROIS, **options), of_regions(LEVELS, ROIS, half=True, **options)
    assert reads < 10 * VALUES  # of sixteen, were none shared
    assert (single.written, single.arithmetic) == (4 * VALUES, reads + rows)
    assert single.passes == (reads + VALUES) / 32  # four passes bring four values to each thread
    assert half.passes == (reads + VALUES) / 32 / 2
    assert (
        single.instructions == reads + rows + reads * 3 / 4 + VALUES / 4
    )  # an address is two instructions, a read one
    assert half.instructions == reads + rows + reads * (3 / 8 + 1) + VALUES * (1 / 8 + 1)  # and a conversion


def test_of_planes_a_row_of_bins_sums_the_rows_of_each_column_once() -> None:
    reads = sums = written = 0
    for level, roi in product(LEVELS, ROIS):
        down, across = cells_of_bins(level, roi)
        columns = len(set().union(*across))
        reads += level[0] * sum(len(row) for row in down) * columns
        written += level[0] * 3 * columns
        sums += level[0] * 3 * sum(len(column) for column in across)
    single, half = (of_regions(LEVELS, ROIS, output_size=3, normalize=False, half=each) for each in (False, True))
    assert (single.written, single.arithmetic) == (4 * VALUES, reads + sums)
    assert single.instructions == reads + sums + 3 * reads + written + sums + VALUES
    assert half.instructions - single.instructions == reads + VALUES
    least = (reads + written + sums + VALUES) / 32
    assert least < half.passes <= single.passes < 4 * least  # small maps of few bins: warps are not full


def test_what_is_normalised_goes_through_shared_memory_and_back() -> None:
    for last, kept in ((True, 2 / 4), (False, 2)):
        options = {"output_size": 3, "channels_last": last}
        plain, normalised = (of_regions(LEVELS, ROIS, normalize=each, **options) for each in (False, True))
        assert normalised.passes - plain.passes >= VALUES / 32 * 2
        assert normalised.arithmetic - plain.arithmetic == 2 * VALUES
        assert normalised.instructions - plain.instructions == VALUES * (2 + kept)
        assert normalised.bytes == plain.bytes


def test_a_score_is_read_once() -> None:
    single, half = of_points((2, 3, 8, 16)), of_points((2, 3, 8, 16), half=True)
    assert (single.read, half.read) == (6 * 128 * 4, 6 * 128 * 2)
    assert single.written == 6 * 3 * 4  # x, y and confidence
    assert single.passes == 6 * 128 * 4 / 128
    assert (single.instructions, half.instructions) == (6 * 128 * 4.25, 6 * 128 * 5.125)


def read_pixels(frame: np.ndarray, transforms: np.ndarray, *, width: int) -> int:
    """Return the number of pixels whose value changes the crop of the reference."""
    before, count = reference.crop(frame, transforms, height=4, width=width), 0
    for place in np.ndindex(frame.shape[:2]):
        frame[place] = 200
        count += bool((reference.crop(frame, transforms, height=4, width=width) != before).any())
        frame[place] = 0
    return count


def test_a_frame_is_read_where_a_crop_depends_on_it() -> None:
    turned = np.float32([[0.9, -0.3, 6.1], [0.3, 0.9, 5.2]])
    for transforms in (SHIFT, np.concatenate([SHIFT, turned[None]]), np.float32([[[1.1, 0, -2.6], [0, 1.1, 9.7]]])):
        needed = read_pixels(np.zeros((12, 16, 3), np.uint8), transforms, width=6)
        assert of_crops((12, 16), transforms, height=4, width=6).read == 3 * needed + transforms.nbytes


def test_chroma_is_read_for_every_two_by_two_pixels() -> None:
    # columns 3 ... 10 and rows 2 ... 7 of the frame
    work = of_crops((12, 16), SHIFT, height=4, width=6, kind="nv12")
    assert work.read == 8 * 6 + 2 * 5 * 3 + SHIFT.nbytes


@pytest.mark.parametrize("kind", ["bgr", "nv12"])
def test_a_pixel_of_a_crop_costs_what_the_table_says(kind: str) -> None:
    single, half = (of_crops((12, 16), SHIFT, height=4, width=6, kind=kind, half=each) for each in (False, True))
    assert single.written == 24 * 12
    assert half.written == 24 * 6
    assert single.instructions == 24 * sum(PIXEL[kind].values())
    assert half.instructions - single.instructions == 24 * 3
    assert single.arithmetic < single.instructions / 2
    # of a warp six threads work: 4 rows, of each 3 writes and twice 2 words or 4 bytes; every fourth pixel has a third
    assert single.passes == 4 * (3 + 2 * {"bgr": 3, "nv12": 4}[kind])


def test_crops_beyond_the_first_are_taken_to_be_like_them() -> None:
    one, many = (of_crops((12, 16), np.repeat(SHIFT, count, axis=0), height=4, width=6) for count in (1, 100))
    assert many.passes == pytest.approx(100 * one.passes)
    assert of_crops((12, 16), SHIFT[:0], height=4, width=6).passes == 0


ROOFS = Roofs(memory=1e12, passes=1e10, instructions=4e12, arithmetic=2e12, cache=1000)


@pytest.mark.parametrize(
    ("work", "roof", "seconds"),
    [
        (Work(10**9, 10**9, 1, 1, 1), "memory", 2e-3),
        (Work(600, 600, 1e8, 1e9, 1e9), "L1", 1e-2),
        (Work(600, 600, 1, 8e9, 1e9), "instructions", 2e-3),
        (Work(600, 600, 1, 8e9, 6e9), "arithmetic", 3e-3),
        (Work(500, 500, 1, 4, 0), "L1", 1e-10),  # it stays in the L2 cache
    ],
)
def test_the_slowest_roof_binds(work: Work, roof: str, seconds: float) -> None:
    assert ROOFS.binding(work) == (roof, pytest.approx(seconds))


def test_the_roofs_of_a_gpu_are_clock_times_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = fake_cuda.build(tmp_path)
    fake_cuda.FakeCuda(library).reset()
    monkeypatch.setattr(driver, "LIBRARY", str(library))
    found = roofline.roofs(Gpu(0, "Fake GPU", "8.9", 1 << 30), 5e11)
    ticks = 10 * 1.5e9  # what the fake driver says: multiprocessors, clock
    assert found == Roofs(5e11, ticks, 128 * ticks, 128 * ticks, 4 << 20)
    older = roofline.roofs(Gpu(0, "Fake GPU", "7.5", 1 << 30), 5e11)
    assert (older.instructions, older.arithmetic) == (128 * ticks, 64 * ticks)
