"""Our operators in torch by a compiled library: here by the plain C++ references, on the CPU."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasion.engines.errors import NasionError
from nasion.engines.onnx_runtime import OnnxRuntime
from nasion.engines.operators import reference
from nasion.engines.operators.bindings import KernelError, Kernels
from nasion.engines.tensorrt.parity import compare
from nasion.trainers.export.compiled_operators import compiled_operators
from nasion.trainers.export.files import example
from nasion.trainers.networks.operators import location_reweight, multi_level_roi_align

from ...gpu.test_runtimes_gpu import built, by_torch, exported
from ...support.operators import native
from . import test_fp16 as test_half


class Counting(Kernels):
    """The references; counts calls."""

    def __init__(self) -> None:
        super().__init__(native.build(cuda=False).libraries["reference"], reference=True)
        self.calls: Counter[str] = Counter()

    def multi_level_roi_align(self, *args: Any, **options: Any) -> None:
        self.calls["regions"] += 1
        super().multi_level_roi_align(*args, **options)

    def location_reweight(self, *args: Any, **options: Any) -> None:
        self.calls["points"] += 1
        super().location_reweight(*args, **options)


@pytest.fixture
def kernels() -> Counting:
    return Counting()


def levels(dtype: torch.dtype) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    maps = [torch.randn(2, channels, side, side, generator=random) for channels, side in ((6, 16), (10, 8))]
    return [each.to(dtype).to(memory_format=torch.channels_last) for each in maps]


BOXES = torch.tensor([[[3.0, 4, 40, 50], [-9, -9, 20, 30]], [[0, 0, 64, 64], [30, 30, 30, 30]]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_regions_and_points_are_those_of_the_references(kernels: Counting, dtype: torch.dtype) -> None:
    maps = (torch.rand(3, 5, 12, 12, generator=torch.Generator().manual_seed(4)) ** 2).to(dtype)
    with torch.no_grad(), compiled_operators(kernels):
        features = multi_level_roi_align(levels(dtype), BOXES, size=7, scales=(1 / 4, 1 / 8), normalize=True)
        points, confidence = location_reweight(maps, threshold=0.4)
    assert kernels.calls == {"regions": 1, "points": 1}
    images = np.repeat([0, 1], 2)[:, None]
    rois = np.concatenate([images, BOXES.numpy().reshape(4, 4)], axis=1).astype(np.float32)
    expected = reference.multi_level_roi_align(
        [each.numpy() for each in levels(dtype)], rois, scales=(1 / 4, 1 / 8), output_size=7
    )
    assert features.dtype == dtype
    np.testing.assert_allclose(features.numpy(), expected, atol=2e-5 if dtype == torch.float32 else 1e-3)
    places, peaks = reference.location_reweight(maps.numpy(), threshold=0.4)
    np.testing.assert_allclose(points.numpy(), places, atol=1e-4)
    np.testing.assert_array_equal(confidence.numpy(), peaks.astype(np.float32))


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_a_whole_network_gives_what_it_gives_in_plain_torch(kernels: Counting, half: bool) -> None:
    torch.manual_seed(0)
    learner = test_half.rdfn().eval()
    network = test_half.HalfPrecision(learner.exported()) if half else learner.exported().eval()
    images = example(learner.spec, batch=2, seed=1)
    with torch.no_grad():
        plain = network(images)
        with compiled_operators(kernels):
            compiled = network(images)
        again = network(images)
    assert kernels.calls == {"regions": 1, "points": 1}, "not after it, too"
    for name, values in plain.items():
        torch.testing.assert_close(again[name], values, rtol=0, atol=0)
        within = (compiled[name] - values).abs() <= (0.5 if half else 1e-3)
        assert within.float().mean() > (0.9 if half else 0.99), name


def test_what_the_library_does_not_take_is_reported(kernels: Counting) -> None:
    with compiled_operators(kernels):
        with pytest.raises(NasionError, match="maps hold bfloat16; the compiled operators take float32 or float16"):
            location_reweight(torch.zeros(1, 2, 4, 4, dtype=torch.bfloat16))
        with pytest.raises(KernelError, match="nasion_location_reweight"):
            location_reweight(torch.zeros(1, 2, 4, 4), threshold=0.0)


def test_learning_goes_on_by_plain_torch_afterwards(kernels: Counting) -> None:
    with compiled_operators(kernels):
        pass
    maps = torch.rand(1, 2, 6, 6, requires_grad=True)
    location_reweight(maps, threshold=0.1)[0].sum().backward()
    assert maps.grad is not None
    assert not kernels.calls


def test_the_comparison_that_awaits_a_gpu_holds_on_the_cpu(kernels: Counting, tmp_path: Path) -> None:
    network, spec = built("rdfn")
    with OnnxRuntime(exported("rdfn", tmp_path).with_suffix(".onnx"), device="cpu") as slow:
        compare(slow, by_torch(network, spec, slow.spec, kernels, "cpu"), slow.spec, "fp32", batch=4)
    assert kernels.calls == {"regions": 3, "points": 3}, "a batch, and two images alone"
