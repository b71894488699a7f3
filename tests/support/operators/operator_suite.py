"""Suite for every implementation of our operators: the plain C++ references, and the kernels on a GPU.

The specification is ``engines/operators/reference.py``. A class of tests inherits from this one and has a fixture
``machine``.
"""

from __future__ import annotations

import numpy as np
import pytest

from nasion.engines.operators import reference
from nasion.engines.operators.bindings import DeviceImage, KernelError, Level
from nasion.realtime.values.geometry import Region, invert, to_tensor, warp

from .native import Array, Machine, crop, reweight, roi_align

BOXES = {
    "inside": (8.0, 4.0, 40.0, 30.0),
    "larger than the map": (-20.0, -30.0, 90.0, 100.0),
    "half outside": (-24.0, 10.0, 20.0, 60.0),
    "smaller than a cell": (17.2, 9.1, 19.0, 10.4),
    "empty": (13.0, 21.0, 13.0, 21.0),
    "inverted": (30.0, 20.0, 10.0, 5.0),
    "far outside": (500.0, 500.0, 540.0, 540.0),
}
# float16 inputs are given to the reference as they are, so that only the rounding of the result remains
TOLERANCE = {np.float32: 2e-5, np.float16: 1e-3}
RAMP = np.broadcast_to(np.arange(16, dtype=np.float32) * 4 + 1.5, (1, 4, 16, 16))  # the pixel a cell is centred on


def maps_of(dtype: type, *, channels: tuple[int, ...] = (8, 24, 16), batch: int = 2) -> tuple[list[Array], list[float]]:
    """Levels at strides 4, 8 and 16 of images of 64 x 48 pixels."""
    rng, scales = np.random.default_rng(5), [1 / 4, 1 / 8, 1 / 16]
    sizes = [(round(48 * scale), round(64 * scale)) for scale in scales]
    levels = [rng.normal(size=(batch, c, *size)).astype(dtype) for c, size in zip(channels, sizes, strict=True)]
    return levels, scales


def rois_of(*indices: float) -> Array:
    """Each box once for each image index."""
    return np.array([(index, *box) for index in indices for box in BOXES.values()], np.float32)


def turned(side: float, angle: float = 0.0, *, x: float = 60.0, y: float = 45.0, size: int = 16) -> Array:
    """(1, 2, 3) transform from a crop of ``size`` to the frame."""
    return invert(Region(x, y, side, angle).to_crop(size))[None]


def image_of(height: int, width: int) -> Array:
    """A smooth image of all colours: pixels of noise would hide a shift by a part of a pixel."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [np.sin(x / 7 + y / 11), np.cos(x / 5 - y / 13), np.sin(x / 17) * np.cos(y / 6)]
    return np.round(np.stack(waves, axis=2) * 120 + 128).astype(np.uint8)


def nv12_of(height: int, width: int) -> reference.Nv12:
    rng = np.random.default_rng(8)
    luma = rng.integers(0, 256, (height, width), np.uint8)
    return reference.Nv12(luma, rng.integers(0, 256, (height // 2, width // 2, 2), np.uint8), reference.yuv_to_bgr())


class CropSuite:
    """Tests of the crop kernel; see ``OperatorSuite``."""

    @pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
    @pytest.mark.parametrize("kind", ["bgr", "nv12"])
    def test_crops_agree_with_the_reference(self, machine: Machine, kind: str, half: bool) -> None:
        frame = image_of(90, 120) if kind == "bgr" else nv12_of(90, 120)
        sides = ((12, 0.4), (39, -0.3), (50, 0.2), (85, 1.0), (85, 0.0), (200, 2.5))  # halved 0, 0, 1, 2, 2 and 2 times
        transforms = np.concatenate([turned(side, angle) for side, angle in sides])
        for pad in (0, 2, 6, 8):  # of BGR, rows of whole words or not
            options = {"height": 16, "width": 16, "mean": (104, 117, 123), "std": (58, 57, 59), "rgb": True}
            ours = crop(machine, frame, transforms, half=half, pad=pad, **options)
            expected = reference.crop(frame, transforms, **options)
            np.testing.assert_allclose(ours, expected, atol=4e-3 if half else 5e-4)

    def test_a_crop_is_what_the_tracker_cuts_out(self, machine: Machine) -> None:
        frame = image_of(96, 128)
        for side, angle, halved in ((20, 0.3, 0), (38, 0.0, 0), (44, -0.2, 1), (90, 0.1, 2)):
            to_crop = Region(60.3, 45.7, side, angle).to_crop(16)
            ours = crop(machine, frame, invert(to_crop)[None], height=16, width=16)
            theirs = to_tensor([warp(frame, to_crop, 16)], (0, 0, 0), (1, 1, 1), rgb=False)
            assert reference.halvings(invert(to_crop), (96, 128), (16, 16)) == halved
            # the tracker rounds to bytes after every halving and at the end
            assert np.abs(ours - theirs).max() < 0.51 + halved * 0.52

    def test_outside_of_the_frame_it_is_black(self, machine: Machine) -> None:
        white = np.full((20, 30, 3), 255, np.uint8)
        grey = reference.Nv12(
            np.full((20, 30), 235, np.uint8), np.full((10, 15, 2), 128, np.uint8), reference.yuv_to_bgr()
        )
        ways = [
            np.float32([[1, 0, -2], [0, 1, -3]]),  # begins before the frame
            np.float32([[1, 0, 24.5], [0, 1, 15.25]]),  # ends behind it
            np.float32([[1, 0, 400], [0, 1, 0]]),
            np.float32([[1, 0, -1e30], [0, 1, 1e30]]),
            np.full((2, 3), np.nan, np.float32),
        ]
        for frame in (white, grey):
            first, last, *nowhere = crop(machine, frame, np.stack(ways), height=8, width=8)
            assert first[:, 2, 5].max() == 0
            assert first[:, 5, 1].max() == 0
            np.testing.assert_allclose(first[:, 3:, 2:], 255, atol=1e-3)
            # columns 24.5 ... 29.5 and rows 15.25 ... 19.25: the last of each lies partly over the border
            np.testing.assert_allclose(last[0, 0], [255, 255, 255, 255, 255, 127.5, 0, 0], atol=1e-3)
            np.testing.assert_allclose(last[0, :, 0], [255, 255, 255, 255, 191.25, 0, 0, 0], atol=1e-3)
            assert np.abs(nowhere).max() == 0

    def test_a_frame_of_odd_sides_is_halved_up_to_its_border(self, machine: Machine) -> None:
        frame = image_of(77, 101)
        transforms = np.concatenate([turned(90, 0.2, x=50, y=40), turned(120, 0, x=60, y=60)])
        ours = crop(machine, frame, transforms, height=16, width=16)
        np.testing.assert_allclose(ours, reference.crop(frame, transforms, height=16, width=16), atol=5e-4)

    def test_a_crop_need_not_be_square(self, machine: Machine) -> None:
        frame = image_of(60, 100)
        whole = np.float32([[[100 / 40, 0, 0.75], [0, 60 / 24, 0.75]]])
        ours = crop(machine, frame, whole, height=24, width=40)
        np.testing.assert_allclose(ours, reference.crop(frame, whole, height=24, width=40), atol=5e-4)

    def test_no_crops_give_nothing(self, machine: Machine) -> None:
        assert crop(machine, image_of(8, 8), np.zeros((0, 2, 3)), height=4, width=4).shape == (0, 3, 4, 4)

    def test_a_crop_alone_is_the_same_as_among_others(self, machine: Machine) -> None:
        frame, transforms = nv12_of(90, 120), np.concatenate([turned(30), turned(80), turned(40, 0.5)])
        together = crop(machine, frame, transforms, height=16, width=16)
        for i in range(3):
            alone = crop(machine, frame, transforms[i : i + 1], height=16, width=16)
            np.testing.assert_array_equal(alone[0], together[i])


class OperatorSuite(CropSuite):
    # --- MultiLevelRoIAlign

    @pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
    @pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float32", "float16"])
    @pytest.mark.parametrize("normalize", [False, True], ids=["plain", "normalized"])
    def test_regions_agree_with_the_reference(
        self, machine: Machine, dtype: type, channels_last: bool, normalize: bool
    ) -> None:
        levels, scales = maps_of(dtype)
        rois = rois_of(0, 1)
        for size, sampling in ((5, 1), (7, 2), (3, 3), (2, 4), (14, 2)):
            options = {"scales": scales, "output_size": size, "sampling_ratio": sampling, "normalize": normalize}
            ours = roi_align(machine, levels, rois, channels_last=channels_last, **options)
            expected = reference.multi_level_roi_align(levels, rois, **options)
            np.testing.assert_allclose(ours, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])

    @pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
    def test_levels_of_any_number_of_channels_have_their_place(self, machine: Machine, channels_last: bool) -> None:
        levels, scales = maps_of(np.float32, channels=(4, 1024, 100), batch=1)
        options = {"scales": scales, "output_size": 6}
        ours = roi_align(machine, levels, rois_of(0), channels_last=channels_last, **options)
        np.testing.assert_allclose(ours, reference.multi_level_roi_align(levels, rois_of(0), **options), atol=2e-5)

    def test_sixteen_levels_are_as_good_as_one(self, machine: Machine) -> None:
        level, rois = maps_of(np.float32)[0][0], rois_of(0)
        one = roi_align(machine, [level], rois, scales=[1 / 4], output_size=4)
        many = roi_align(machine, [level] * 16, rois, scales=[1 / 4] * 16, output_size=4)
        np.testing.assert_array_equal(many, np.tile(one, (1, 16, 1, 1)))

    @pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)], ids=str)
    def test_maps_of_a_single_row_or_column_are_not_read_beyond(
        self, machine: Machine, channels_last: bool, size: tuple[int, int]
    ) -> None:
        level = np.random.default_rng(9).normal(size=(1, 4, *size)).astype(np.float32)
        boxes = [(0, 0, 8, 8), (-2, -2, 3, 40), (20, 1, 36, 4), (4 * size[1] - 3, 4 * size[0] - 3, 40, 40)]
        rois = np.array([(0, *box) for box in boxes], np.float32)
        options = {"scales": [1 / 4], "output_size": 5}
        ours = roi_align(machine, [level], rois, channels_last=channels_last, **options)
        np.testing.assert_allclose(ours, reference.multi_level_roi_align([level], rois, **options), atol=2e-5)

    @pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
    @pytest.mark.parametrize("size", [(90, 120), (20, 400), (60, 3)], ids=str)
    def test_bins_may_lie_many_cells_apart(self, machine: Machine, channels_last: bool, size: tuple[int, int]) -> None:
        level = np.random.default_rng(10).normal(size=(1, 4, *size)).astype(np.float32)
        rois = np.array([(0, 0, 0, 4 * size[1], 4 * size[0]), (0, -90, -9, 3 * size[1], 5 * size[0])], np.float32)
        for bins, sampling in ((1, 1), (3, 2), (5, 4), (33, 3)):  # of 33 in a row, no block has all
            options = {"scales": [1 / 4], "output_size": bins, "sampling_ratio": sampling}
            ours = roi_align(machine, [level], rois, channels_last=channels_last, **options)
            expected = reference.multi_level_roi_align([level], rois, **options)
            np.testing.assert_allclose(ours, expected, atol=2e-4)  # a place in 1,600 pixels is known to 1e-4 of one

    @pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
    def test_boxes_that_are_not_finite_agree_with_the_reference(self, machine: Machine, channels_last: bool) -> None:
        levels, scales = maps_of(np.float32)
        boxes = [
            np.where(np.arange(4) == i, odd, (8, 4, 40, 30)) for i in range(4) for odd in (np.nan, np.inf, -np.inf)
        ]
        rois = np.array([(0, *box) for box in (*boxes, (-np.inf, 4, np.inf, 30))], np.float32)
        options = {"scales": scales, "output_size": 4}
        ours = roi_align(machine, levels, rois, channels_last=channels_last, **options)
        with np.errstate(invalid="ignore"):
            expected = reference.multi_level_roi_align(levels, rois, **options)
        np.testing.assert_allclose(ours, expected, atol=2e-5)

    @pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
    def test_a_level_has_as_many_channels_as_fit_a_block(self, machine: Machine, channels_last: bool) -> None:
        level = np.random.default_rng(11).normal(size=(1, 8192, 3, 4)).astype(np.float32)
        roi, options = np.array([[0, 1, 2, 13, 9]], np.float32), {"scales": [1 / 4], "output_size": 2}
        ours = roi_align(machine, [level], roi, channels_last=channels_last, **options)
        np.testing.assert_allclose(ours, reference.multi_level_roi_align([level], roi, **options), atol=2e-5)

    def test_on_a_ramp_every_bin_is_the_place_of_its_centre(self, machine: Machine) -> None:
        """A map whose value is the pixel it is centred on: cell j of stride 4 is pixel 4 j + 1.5."""
        roi = np.array([[0, 10.0, 10.0, 38.0, 24.0]])
        across, down = np.ascontiguousarray(RAMP), np.ascontiguousarray(RAMP.swapaxes(2, 3))
        for channels_last in (False, True):
            options = {"scales": [1 / 4], "output_size": 7, "normalize": False, "channels_last": channels_last}
            x, y = (roi_align(machine, [ramp], roi, **options) for ramp in (across, down))
            assert x[0, 3, 5].tolist() == [12, 16, 20, 24, 28, 32, 36]
            assert y[0, 3, :, 5].tolist() == [11, 13, 15, 17, 19, 21, 23]

    def test_a_box_outside_is_zero_and_an_empty_box_is_its_corner(self, machine: Machine) -> None:
        nan = float("nan")
        rois = np.array([[0, 200, 10, 240, 30], [0, 21, 30, 21, 30], [0, nan, 0, 9, 9], [0, 0, 0, float("inf"), 9]])
        ramp = np.ascontiguousarray(RAMP)
        out = roi_align(machine, [ramp], rois, scales=[1 / 4], output_size=2, normalize=False)
        assert np.abs(out[0]).max() == 0
        assert (out[1] == 21).all()
        assert np.abs(out[2]).max() == 0
        assert np.abs(out[3]).max() == 0
        normalized = roi_align(machine, [ramp], rois, scales=[1 / 4], output_size=2)
        assert np.abs(normalized[0]).max() == 0
        np.testing.assert_allclose(normalized[1], 0.5, rtol=1e-6)  # four equal channels

    @pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
    def test_a_region_of_no_image_is_zero(self, machine: Machine, channels_last: bool) -> None:
        levels, scales = maps_of(np.float32)
        rois = np.array([[index, 4, 4, 40, 40] for index in (-1, 2, 1e9, float("nan"), 1)])
        for normalize in (False, True):
            out = roi_align(
                machine, levels, rois, scales=scales, output_size=3, normalize=normalize, channels_last=channels_last
            )
            assert np.abs(out[:4]).max() == 0
            assert np.abs(out[4]).max() > 0

    def test_no_regions_give_nothing(self, machine: Machine) -> None:
        levels, scales = maps_of(np.float32)
        assert roi_align(machine, levels, np.zeros((0, 5)), scales=scales, output_size=7).shape == (0, 48, 7, 7)
        nobody = [each[:0] for each in levels]
        assert roi_align(machine, nobody, np.zeros((0, 5)), scales=scales, output_size=7).shape == (0, 48, 7, 7)

    @pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
    def test_a_region_alone_is_the_same_as_among_others(self, machine: Machine, channels_last: bool) -> None:
        levels, scales = maps_of(np.float16)
        rois = rois_of(1, 0)
        options = {"scales": scales, "output_size": 14, "channels_last": channels_last}
        together = roi_align(machine, levels, rois, **options)
        for i in range(len(rois)):
            np.testing.assert_array_equal(roi_align(machine, levels, rois[i : i + 1], **options)[0], together[i])

    @pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
    def test_sums_of_large_float16_do_not_overflow(self, machine: Machine, channels_last: bool) -> None:
        large = np.full((1, 64, 8, 8), 60000, np.float16)  # the greatest float16 is 65504
        roi = np.array([[0, 4, 4, 20, 20]])
        options = {"scales": [1 / 4], "output_size": 2, "channels_last": channels_last}
        assert (roi_align(machine, [large], roi, normalize=False, **options) == 60000).all()
        assert (roi_align(machine, [large], roi, **options) == 1 / 8).all()  # 64 equal channels

    # --- LocationReweight

    @pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float32", "float16"])
    @pytest.mark.parametrize("size", [(5, 7), (16, 16), (1, 9), (40, 36), (120, 120)], ids=str)
    def test_points_agree_with_the_reference(self, machine: Machine, dtype: type, size: tuple[int, int]) -> None:
        maps = (np.random.default_rng(2).random((2, 3, *size)) ** 4).astype(dtype)
        for threshold in (0.2, 0.5, 0.99, 2.0):
            points, confidence = reweight(machine, maps, threshold=threshold)
            expected, peak = reference.location_reweight(maps, threshold=threshold)
            np.testing.assert_allclose(points, expected, atol=2e-4)
            np.testing.assert_array_equal(confidence, peak)

    def test_the_point_is_the_weighted_mean_of_the_cells_that_reach_the_threshold(self, machine: Machine) -> None:
        maps = np.zeros((1, 1, 5, 5), np.float32)
        maps[0, 0, 1, 1], maps[0, 0, 1, 2], maps[0, 0, 2, 1], maps[0, 0, 4, 4] = 0.9, 0.6, 0.5, 0.49
        points, confidence = reweight(machine, maps)
        assert points[0, 0].tolist() == pytest.approx([(0.9 + 1.2 + 0.5) / 2.0, (0.9 + 0.6 + 1.0) / 2.0])
        assert confidence.item() == pytest.approx(0.9)

    def test_where_nothing_reaches_the_threshold_the_highest_cell_is_taken(self, machine: Machine) -> None:
        maps = np.zeros((1, 5, 5, 6), np.float32)
        maps[0, 0, 3, 2], maps[0, 0, 3, 3] = 0.4, 0.3  # leans right
        maps[0, 1, 0, 5] = 0.1  # a corner: nowhere to lean
        maps[0, 2, 2, 4], maps[0, 2, 4, 1] = 0.2, 0.2  # the first of equals
        maps[0, 4] = -np.inf
        points, confidence = reweight(machine, maps)
        assert points[0].tolist() == [[2.25, 3], [5, 0], [4, 2], [0, 0], [0, 0]]
        assert confidence[0].tolist() == pytest.approx([0.4, 0.1, 0.2, 0, -np.inf])

    def test_maps_that_are_not_numbers_do_no_harm(self, machine: Machine) -> None:
        maps = np.full((1, 2, 8, 8), np.nan, np.float32)
        maps[0, 1, 5, 3] = 0.75
        points, confidence = reweight(machine, maps)
        assert points[0].tolist() == [[0, 0], [3, 5]]
        assert confidence[0, 1] == 0.75

    @pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float32", "float16"])
    def test_a_full_map_has_its_middle_as_its_mean(self, machine: Machine, dtype: type) -> None:
        points, confidence = reweight(machine, np.ones((1, 1, 120, 120), dtype))
        np.testing.assert_allclose(points, 59.5, atol=1e-4)  # the sum of x is far beyond float16
        assert confidence.item() == 1

    @pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float32", "float16"])
    def test_maps_may_begin_anywhere_in_memory(self, machine: Machine, dtype: type) -> None:
        maps = np.random.default_rng(3).random((2, 2, 8, 8)).astype(dtype)
        expected = reweight(machine, maps)
        for skip in (1, 3):
            np.testing.assert_allclose(reweight(machine, maps, skip=skip)[0], expected[0], atol=1e-5)

    def test_no_maps_give_no_points(self, machine: Machine) -> None:
        assert reweight(machine, np.zeros((0, 68, 8, 8), np.float32))[0].shape == (0, 68, 2)

    def test_a_map_alone_is_the_same_as_among_others(self, machine: Machine) -> None:
        maps = np.random.default_rng(4).random((3, 5, 24, 20)).astype(np.float32)
        together, _ = reweight(machine, maps)
        np.testing.assert_array_equal(reweight(machine, maps[1:2])[0][0], together[1])

    # --- what is refused, before anything is touched

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"output_size": 0}, "output size"),
            ({"output_size": 65}, "output size"),
            ({"sampling_ratio": 5}, "sampling_ratio is not 1, 2, 3 or 4"),
            ({"epsilon": 0.0}, "not a valid number"),
            ({"batch": 0}, "a count is negative, zero"),
            ({"regions": 65536}, "a count is negative, zero"),
            ({"rois": 0}, "required address is null"),
            ({"levels": [Level(4096, 4, 4, 4, 0.25)] * 17}, "a count is negative, zero"),
            ({"levels": []}, "a count is negative, zero"),
            ({"levels": [Level(4096, 8193, 4, 4, 0.25)]}, "a count is negative, zero"),
            ({"levels": [Level(4096, 4, 0, 4, 0.25)]}, "height"),
            ({"levels": [Level(4096, 4, 4, 4, -1.0)]}, "not a valid number"),
            ({"levels": [Level(4098, 4, 4, 4, 1.0)]}, "not aligned"),
            ({"levels": [Level(4096, 1024, 4096, 4096, 1.0)]}, "2^31"),
            ({"levels": [Level(4096, 6, 4, 4, 1.0)], "channels_last": True}, "multiple of 16 bytes"),
        ],
    )
    def test_regions_that_cannot_be_are_refused(self, machine: Machine, changes: dict[str, object], text: str) -> None:
        sound = {
            "levels": [Level(4096, 4, 4, 4, 0.25)], "batch": 1, "rois": 4096, "regions": 1, "output": 4096,
            "output_size": 2,
        }  # fmt: skip
        with pytest.raises(KernelError) as error:
            machine.kernels.multi_level_roi_align(**(sound | changes))
        assert text in str(error.value)

    def test_maps_and_frames_that_cannot_be_are_refused(self, machine: Machine) -> None:
        kernels, frame = machine.kernels, DeviceImage((4096,), (30,), 10, 10)
        with pytest.raises(KernelError, match="not a valid number"):
            kernels.location_reweight(4096, (1, 1, 4, 4), points=4096, confidence=4096, threshold=0.0)
        with pytest.raises(KernelError, match="height"):
            kernels.location_reweight(4096, (1, 1, 0, 4), points=4096, confidence=4096)
        with pytest.raises(KernelError, match="std of 0"):
            kernels.crop(frame, 4096, count=1, height=4, width=4, output=4096, std=(1, 0, 1))
        for wrong in (
            DeviceImage((4096,), (29,), 10, 10),  # rows shorter than the image
            DeviceImage((4096, 4096), (10, 10), 10, 9, "nv12", (0.0,) * 12),  # half a row of chroma
            DeviceImage((4096,), (3,), 1, 10),
        ):
            with pytest.raises(KernelError, match="pitch"):
                kernels.crop(wrong, 4096, count=1, height=4, width=4, output=4096)
