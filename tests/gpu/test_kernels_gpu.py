"""The kernels against float64: the suite that the plain C++ references pass, each call also from a CUDA graph."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from nasion.engines.gpu.device import Device, Memory
from nasion.engines.operators import reference
from nasion.engines.operators.bindings import Kernels
from nasion.realtime.values.geometry import Region, invert
from nasion.tools.kernels.cases import RDFN_TAPS

from ..support.operators.native import Array, crop, reweight, roi_align
from ..support.operators.operator_suite import OperatorSuite, image_of, maps_of, rois_of
from .conftest import library

pytestmark = pytest.mark.timeout(900)  # the kernels may have to be compiled first


class OnGpu:
    """The kernels: each call is made twice, the second time from a CUDA graph, with the same result to the bit."""

    def __init__(self, device: Device) -> None:
        self.kernels = Kernels(library("kernels"))
        self._device, self._stream = device, device.stream()

    def run(self, call: Callable[..., None], inputs: Sequence[Array], outputs: Sequence[Array]) -> list[Array]:
        with self._device.current():
            given = [self._up(each) for each in inputs]
            room = [self._up(each) for each in outputs]
            places = [each.address for each in given], [each.address for each in room]
            call(*places, self._stream.handle)
            direct = [self._down(each) for each in room]
            for memory, each in zip(room, outputs, strict=True):
                self._fill(memory, each)
            with self._stream.recording() as graph:
                call(*places, self._stream.handle)
            graph.launch()
            replayed = [self._down(each) for each in room]
            for resource in (graph, *given, *room):
                resource.close()
        for one, other in zip(direct, replayed, strict=True):
            np.testing.assert_array_equal(one, other)
        return direct

    def _up(self, array: Array) -> Memory:
        memory = self._device.memory(array.shape, array.dtype)
        self._fill(memory, array)
        return memory

    def _fill(self, memory: Memory, array: Array) -> None:
        with self._device.pinned(array.shape, array.dtype) as pinned:
            pinned.array[...] = array
            self._stream.upload(pinned.array, memory)
            self._stream.wait()

    def _down(self, memory: Memory) -> Array:
        with self._device.pinned(memory.shape, memory.dtype) as pinned:
            self._stream.download(memory, pinned.array)
            self._stream.wait()
            return pinned.array.copy()


@pytest.fixture(scope="module")
def machine(device: Device) -> OnGpu:
    return OnGpu(device)


class TestKernels(OperatorSuite):
    """Every test of the suite, on a GPU."""


@pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float32", "float16"])
def test_rdfn_with_eight_faces_agrees_with_float64(machine: OnGpu, dtype: type, channels_last: bool) -> None:
    rng = np.random.default_rng(0)
    levels = [rng.normal(size=(2, c, 256 // s, 320 // s)).astype(dtype) for s, c in RDFN_TAPS]
    corners = rng.uniform(0, 150, (16, 2))
    rois = np.concatenate([np.arange(16)[:, None] % 2, corners, corners + rng.uniform(20, 160, (16, 2))], axis=1)
    options = {"scales": [1 / s for s, _ in RDFN_TAPS], "output_size": 14}
    ours = roi_align(machine, levels, rois, channels_last=channels_last, **options)
    expected = reference.multi_level_roi_align(levels, np.float32(rois), **options)
    np.testing.assert_allclose(ours, expected, atol=2e-5 if dtype == np.float32 else 1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float32", "float16"])
def test_the_maps_of_eight_faces_agree_with_float64(machine: OnGpu, dtype: type) -> None:
    maps = (np.random.default_rng(1).random((8, 68, 120, 120)) ** 3).astype(dtype)
    for threshold in (0.5, 0.999, 2.0):
        points, confidence = reweight(machine, maps, threshold=threshold)
        expected, peak = reference.location_reweight(maps, threshold=threshold)
        np.testing.assert_allclose(points, expected, atol=5e-4)
        np.testing.assert_array_equal(confidence, peak)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_crops_of_a_full_hd_frame_agree_with_float64(machine: OnGpu, half: bool) -> None:
    frame, rng = image_of(1080, 1920), np.random.default_rng(2)
    regions = [Region(*rng.uniform((0, 0, 60), (1920, 1080, 900)), angle) for angle in rng.uniform(-3, 3, 8)]
    transforms = np.stack([invert(region.to_crop(128)) for region in regions])
    ours = crop(machine, frame, transforms, height=128, width=128, half=half)
    expected = reference.crop(frame, transforms, height=128, width=128)
    # a place in a frame of 2,000 pixels is known to 1e-4 of one in float32
    np.testing.assert_allclose(ours, expected, atol=0.15 if half else 0.05)


# --- the plugins, run as TensorRT would run them


@pytest.fixture(scope="module")
def plugin_library(device: Device) -> Path:
    return library("plugins")


def harness(library: Path, folder: Path, inputs: Sequence[Array], *words: str) -> None:
    for i, each in enumerate(inputs):
        (folder / f"input{i}.bin").write_bytes(np.ascontiguousarray(each).tobytes())
    command = [library.parent / "nasion_harness", library, *words, "--run", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ran twice, the second time from a CUDA graph" in done.stdout


@pytest.mark.parametrize(
    ("dtype", "layout"),
    [(np.float32, "linear"), (np.float16, "linear"), (np.float32, "hwc"), (np.float16, "hwc8")],
)
def test_the_plugin_of_regions_agrees_with_float64(
    plugin_library: Path, tmp_path: Path, dtype: type, layout: str
) -> None:
    levels, scales = maps_of(dtype)
    rois = rois_of(0, 1)
    last = layout != "linear"
    kind = np.dtype(dtype).name
    tensors = [f"{kind}:{'x'.join(map(str, each.shape))}:{layout}" for each in levels]
    given = [each.transpose(0, 2, 3, 1) if last else each for each in levels]
    attributes = [f"scales={','.join(map(str, scales))}", "output_size=7", "sampling_ratio=2", "normalize=1"]
    words = ["MultiLevelRoIAlign", *attributes, "--", *tensors, f"float32:{len(rois)}x5"]
    harness(plugin_library, tmp_path, [*given, rois], *words)
    found = np.fromfile(tmp_path / "output0.bin", dtype)
    shape = (len(rois), 7, 7, 48) if last else (len(rois), 48, 7, 7)
    ours = found.reshape(shape).transpose(0, 3, 1, 2) if last else found.reshape(shape)
    expected = reference.multi_level_roi_align(levels, rois, scales=scales, output_size=7)
    np.testing.assert_allclose(ours, expected, atol=2e-5 if dtype == np.float32 else 1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float32", "float16"])
def test_the_plugin_of_points_agrees_with_float64(plugin_library: Path, tmp_path: Path, dtype: type) -> None:
    maps = (np.random.default_rng(6).random((3, 5, 24, 20)) ** 3).astype(dtype)
    words = ["LocationReweight", "threshold=0.5", "--", f"{np.dtype(dtype).name}:3x5x24x20"]
    harness(plugin_library, tmp_path, [maps], *words)
    expected, peak = reference.location_reweight(maps)
    points = np.fromfile(tmp_path / "output0.bin", np.float32).reshape(3, 5, 2)
    np.testing.assert_allclose(points, expected, atol=2e-4)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "output1.bin", np.float32).reshape(3, 5), peak)
