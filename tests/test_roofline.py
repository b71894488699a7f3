"""Counts of work against accesses counted one by one, and the roofs of a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasion.engines import driver, roofline, twins
from nasion.engines.driver import Gpu
from nasion.engines.roofline import PIXEL, Roofs, Work, of_crops, of_points, of_regions

from . import fake_cuda

LEVELS = [(8, 12, 16, 1 / 4), (16, 6, 8, 1 / 8)]
ROIS = np.float32([[0, 8, 4, 40, 30], [0, 10, 10, 30, 40], [1, 3, 3, 20, 20], [1, 500, 500, 600, 600]])
SHIFT = np.float32([[[1.25, 0, 3.5], [0, 1.25, 2.5]]])


def read_cells(level: tuple[int, int, int, float]) -> int:
    """A cell is needed where another value of it changes what the twin gives."""
    channels, height, width, scale = level
    options = {"scales": [scale], "output_size": 3, "normalize": False}
    blank = np.zeros((2, 1, height, width))
    before = twins.multi_level_roi_align([blank], ROIS, **options)
    count = 0
    for place in np.ndindex(blank.shape):
        blank[place] = 1
        count += bool((twins.multi_level_roi_align([blank], ROIS, **options) != before).any())
        blank[place] = 0
    return channels * count


def test_a_map_is_read_where_a_region_depends_on_it_and_nowhere_else() -> None:
    work = of_regions(LEVELS, ROIS, output_size=3)
    assert work.read == 4 * sum(read_cells(level) for level in LEVELS) + ROIS.nbytes
    assert of_regions(LEVELS, ROIS, output_size=3, half=True).read * 2 == work.read + ROIS.nbytes


def test_a_value_of_a_region_is_sixteen_reads_and_twenty_multiply_adds() -> None:
    values = len(ROIS) * 3 * 3 * (8 + 16)
    plain = of_regions(LEVELS, ROIS, output_size=3, normalize=False)
    assert (plain.written, plain.arithmetic) == (4 * values, 20 * values)
    assert plain.passes == values / 32 * (16 + 1)
    assert plain.instructions == values * (20 + 16 + 16 + 1)  # 8 pairs of cells with an address of two instructions
    single = of_regions(LEVELS, ROIS, output_size=3, normalize=False, sampling_ratio=1)
    assert (single.arithmetic, single.passes) == (6 * values, values / 32 * (4 + 1))


def test_what_is_normalised_goes_through_shared_memory_and_back() -> None:
    values = len(ROIS) * 3 * 3 * (8 + 16)
    plain, normalised = (of_regions(LEVELS, ROIS, output_size=3, normalize=each) for each in (False, True))
    assert normalised.passes - plain.passes == pytest.approx(values / 32 * 2)
    assert normalised.arithmetic - plain.arithmetic == 2 * values
    assert normalised.bytes == plain.bytes


def test_with_the_channels_last_sixteen_bytes_are_read_at_a_time() -> None:
    values = len(ROIS) * 3 * 3 * (8 + 16)
    options = {"output_size": 3, "normalize": False, "channels_last": True}
    single, half = of_regions(LEVELS, ROIS, **options), of_regions(LEVELS, ROIS, half=True, **options)
    assert single.passes == values / 32 * 17  # of 4 bytes a value there is nothing to be saved
    assert half.passes == values / 32 * 17 / 2
    assert single.instructions == values * (20 + 33 / 4)
    assert half.instructions == values * (20 + 33 / 8 + 17)  # each float16 read or written is converted


def test_a_score_is_read_once() -> None:
    single, half = of_points((2, 3, 8, 16)), of_points((2, 3, 8, 16), half=True)
    assert (single.read, half.read) == (6 * 128 * 4, 6 * 128 * 2)
    assert single.written == 6 * 3 * 4  # x, y and confidence
    assert single.passes == 6 * 128 * 4 / 128
    assert (single.instructions, half.instructions) == (6 * 128 * 4.25, 6 * 128 * 5.125)


def read_pixels(frame: np.ndarray, transforms: np.ndarray, *, width: int) -> int:
    """A pixel is needed where another value of it changes the twin's crop."""
    before, count = twins.crop(frame, transforms, height=4, width=width), 0
    for place in np.ndindex(frame.shape[:2]):
        frame[place] = 200
        count += bool((twins.crop(frame, transforms, height=4, width=width) != before).any())
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
    assert single.passes == 24 / 32 * {"bgr": 9, "nv12": 11}[kind]


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
