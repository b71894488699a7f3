"""Tests of the plain C++ references against the NumPy references, torch and values computed by hand."""

from __future__ import annotations

import ctypes

import av
import numpy as np
import pytest
import torch
from torch.nn import functional

from nasion.engines.operators import reference
from nasion.engines.operators.bindings import KernelError, Kernels
from nasion.realtime.values.geometry import Region, invert, to_tensor, warp
from nasion.trainers.networks.decoding import reweighted
from nasion.trainers.networks.roi_align import roi_align_levels

from ...support.operators.native import Host, build, build_emulated, crop, reweight, roi_align
from ...support.operators.operator_suite import OperatorSuite, image_of, maps_of, rois_of, turned

# whichever test compiles the kernels first waits for them: a minute, and much longer on a busy machine
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def machine() -> Host:
    return Host(Kernels(build(cuda=False).libraries["reference"], reference=True))


class TestReferences(OperatorSuite):
    """Every test of the suite, in plain C++."""


class TestEmulatedKernels(OperatorSuite):
    """Every test of the suite with the kernels themselves, block by block on a CPU."""

    @pytest.fixture
    def machine(self) -> Host:
        return Host(Kernels(build_emulated()))


@pytest.mark.parametrize("sampling", [1, 2])
def test_regions_agree_with_what_networks_are_trained_with(machine: Host, sampling: int) -> None:
    levels, scales = maps_of(np.float32)
    rois = rois_of(0, 1)
    boxes = torch.from_numpy(rois[:, 1:].reshape(2, -1, 4))
    aligned = roi_align_levels(
        [torch.from_numpy(each) for each in levels], boxes, size=7, scales=scales, samplings=[sampling] * 3
    )
    theirs = torch.cat([functional.normalize(each.flatten(0, 1), dim=1) for each in aligned], dim=1)
    ours = roi_align(machine, levels, rois, scales=scales, output_size=7, sampling_ratio=sampling)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-5)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.95])
def test_points_agree_with_what_networks_are_trained_with(machine: Host, threshold: float) -> None:
    maps = torch.rand(3, 5, 24, 20, generator=torch.Generator().manual_seed(0)) ** 3
    points, confidence = reweight(machine, maps.numpy(), threshold=threshold)
    theirs, peak = reweighted(maps, threshold=threshold)
    np.testing.assert_allclose(points, theirs.numpy(), atol=1e-4)
    np.testing.assert_array_equal(confidence, peak.numpy())


@pytest.mark.parametrize("centre", [(64, 48), (3, 90)], ids=["inside", "over the corner"])
def test_a_crop_of_an_image_is_what_torch_samples(machine: Host, centre: tuple[float, float]) -> None:
    image = image_of(96, 128)
    to_frame = invert(Region(*centre, 40, 0.2).to_crop(32))
    ours = crop(machine, image, to_frame[None], height=32, width=32)
    v, u = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    places = torch.stack([u, v, torch.ones_like(u)], dim=2) @ torch.from_numpy(to_frame).T
    grid = 2 * places / torch.tensor([127.0, 95.0]) - 1
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    theirs = functional.grid_sample(pixels, grid[None], align_corners=True)  # black outside
    np.testing.assert_allclose(ours, theirs.numpy(), atol=0.05)


@pytest.mark.parametrize("full_range", [False, True], ids=["16..235", "0..255"])
def test_a_crop_of_a_video_frame_is_that_of_its_bgr_image(machine: Host, full_range: bool) -> None:
    """FFmpeg makes the image that the tracker works on from the same bytes, with chroma in separate planes."""
    bgr, limits = av.VideoFrame.from_ndarray(image_of(96, 128), format="bgr24"), "JPEG" if full_range else "MPEG"
    stored = bgr.reformat(format="yuv420p", dst_color_range=limits).to_ndarray()
    luma, chroma = stored[:96], stored[96:].reshape(2, 48, 64).transpose(1, 2, 0)
    yuv = av.VideoFrame.from_ndarray(stored, format="yuv420p")
    image = yuv.reformat(format="bgr24", src_color_range=limits).to_ndarray()
    to_crop = Region(64, 48, 40, 0.2).to_crop(32)
    frame = reference.Nv12(luma, chroma, reference.yuv_to_bgr(full_range=full_range))
    ours = crop(machine, frame, invert(to_crop)[None], height=32, width=32)
    theirs = to_tensor([warp(image, to_crop, 32)], (0, 0, 0), (1, 1, 1), rgb=False)
    assert np.abs(ours - theirs).mean() < 1.5  # FFmpeg rounds down on the way
    assert np.abs(ours - theirs).max() < 4.0


def test_the_colours_of_a_standard_are_those_of_its_definition() -> None:
    def bgr(y: int, u: int, v: int, **options: object) -> list[float]:
        return np.round(reference.yuv_to_bgr(**options) @ [y, u, v, 1]).tolist()  # type: ignore[arg-type]

    assert bgr(16, 128, 128) == [0, 0, 0]
    assert bgr(235, 128, 128) == [255, 255, 255]
    assert bgr(81, 90, 240) == pytest.approx([0, 0, 255], abs=2)  # red in BT.601
    assert bgr(63, 102, 240, standard="bt709") == pytest.approx([0, 0, 255], abs=2)
    assert bgr(255, 128, 128, full_range=True) == [255, 255, 255]


def test_every_float16_is_read_as_it_is(machine: Host) -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    numbers = every[~np.isnan(every)].reshape(-1, 1, 1, 1)
    _, confidence = reweight(machine, numbers)
    np.testing.assert_array_equal(confidence, numbers.reshape(-1, 1).astype(np.float32))


def test_float16_is_rounded_to_the_nearest_and_of_two_to_the_even(machine: Host) -> None:
    rng = np.random.default_rng(1)
    halves = np.arange(0, 0x7C00, 37, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (halves[:-1] + np.nextafter(halves[:-1].astype(np.float16), np.float16(np.inf)).astype(np.float32)) / 2
    edges = [65504, 65519.9, 65520, 1e30, 2**-14, 2**-24, 2**-25, 2**-25 * 1.01, 2**-26, 0, -1.5, -65520]
    values = np.concatenate([between, edges, rng.normal(size=51) * 100]).astype(np.float32)
    values = values[: len(values) // 3 * 3]
    black = np.full((2, 2, 3), 0, np.uint8)
    found = []
    for three in values.reshape(-1, 3):  # what lies outside of a frame is black: 0 less the mean
        out = crop(machine, black, turned(4), height=1, width=1, half=True, mean=(-three).tolist())
        found += out.ravel().tolist()
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(np.float16(found), values.astype(np.float16))


def test_what_a_status_means_is_said_in_words() -> None:
    library = ctypes.CDLL(str(build(cuda=False).libraries["reference"]))
    library.nasion_status_text.restype = ctypes.c_char_p
    texts = [library.nasion_status_text(-status).decode() for status in range(10)]
    assert texts[0] == "done"
    assert texts[9] == "unknown status"
    assert len(set(texts)) == 10


def test_a_kernel_that_cannot_be_launched_says_why() -> None:
    from nasion.engines.errors import DeviceError
    from nasion.engines.gpu.driver import gpus

    kernels = Kernels(build(cuda=True).libraries["kernels"])
    try:
        found = gpus()
    except DeviceError:
        found = ()
    if found:
        pytest.skip("there is a GPU here, on which kernels do run")
    with pytest.raises(KernelError, match=r"nasion_location_reweight: .* \(status [1-9]\d*\)"):
        kernels.location_reweight(4096, (1, 1, 4, 4), points=4096, confidence=4096)
