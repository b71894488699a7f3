"""Input that ONNX Runtime and torch take on a GPU: the runtimes are real and compute on the CPU, the GPU is a fake.

The memory of the fake GPU is that of the host, so both read it where it lies.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from nasion.engines import onnx_runtime
from nasion.engines.errors import ModelError
from nasion.engines.gpu.device import Device, Memory, Stream
from nasion.engines.gpu.inputs import MOST, GpuInput
from nasion.engines.runtime import GpuRuntime, takes_images_on
from nasion.engines.torch import runtime as torch_runtime
from nasion.trainers.export.files import write_model

from ...support.fakes.cuda import FakeCuda
from ...support.model_files.onnx_models import SPEC, landmarks

SIDE = 32  # pixels of the images that ``onnx_models.landmarks`` takes


class Tiny(torch.nn.Module):
    """A landmark network of a few operations."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        rows = images.flatten(1)[:, :204].reshape(-1, 68, 3)
        return {"points": rows[..., :2] * 9, "confidence": rows[..., 2].sigmoid(), "presence": rows.mean(dim=(1, 2))}


def shared(memory: Memory, device: str) -> torch.Tensor:
    """``torch.as_tensor`` of an array on a GPU, for memory that is the host's."""
    described = memory.__cuda_array_interface__
    assert (described["typestr"], described["strides"], device) == ("<f4", None, "cuda:0")
    count, address = int(np.prod(described["shape"])), described["data"][0]
    values = np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))
    return torch.from_numpy(values.reshape(described["shape"]))


@pytest.fixture(params=["onnx", "torch"])
def runtime(
    request: pytest.FixtureRequest,
    fake_gpu: FakeCuda,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[GpuRuntime]:
    """A runtime that believes that it is on the GPU."""
    if request.param == "onnx":
        monkeypatch.setattr(onnx_runtime, "_BOUND", "cpu")
        opened = onnx_runtime.OnnxRuntime(landmarks(tmp_path / "points.onnx"), device="cpu")
    else:
        monkeypatch.setattr(torch_runtime, "_shared", shared)
        write_model(Tiny(), SPEC, tmp_path / "points.pt2")
        opened = torch_runtime.TorchRuntime(tmp_path / "points.pt2", device="cpu")
        monkeypatch.setattr(torch.Tensor, "to", lambda self, device: self)
    assert opened.most_on_gpu == 0
    opened.device, opened.most_on_gpu = "cuda:0", MOST
    with opened:
        yield opened


class Writer:
    """Writes images to the GPU, and counts how much memory it was given."""

    def __init__(self, device: Device, images: np.ndarray) -> None:
        self._pinned = device.pinned(images.shape, np.float32)
        self._pinned.array[...] = images
        self.addresses: set[int] = set()

    def __call__(self, memory: Memory, stream: Stream) -> None:
        self.addresses.add(memory.address)
        stream.upload(self._pinned.array, memory)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_images_on_the_gpu_give_what_they_give_from_the_host(
    runtime: GpuRuntime, count: int, rng: np.random.Generator
) -> None:
    images = rng.random((count, 3, SIDE, SIDE), np.float32)
    expected = runtime(images)
    assert takes_images_on(runtime, "cuda:0")
    with Device() as device:
        write = Writer(device, images)
        for _ in range(3):
            found = runtime.run(images.shape, write)
            assert found.keys() == expected.keys()
            for name, values in found.items():
                np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-5)
    assert len(write.addresses) == 1, "the memory is used again"


def test_too_many_images_are_refused_and_so_is_a_closed_runtime(runtime: GpuRuntime) -> None:
    with pytest.raises(ModelError, match="65 images are given at once; at most 64 go together"):
        runtime.run((65, 3, SIDE, SIDE), lambda memory, stream: None)
    runtime.close()
    with pytest.raises(ModelError, match="this runtime is closed; open it again"):
        runtime(np.zeros((1, 3, SIDE, SIDE), np.float32))


def test_memory_grows_with_the_batch_and_is_kept_for_a_few_sizes(fake_gpu: FakeCuda) -> None:
    shapes: list[tuple[int, ...]] = []
    with GpuInput(0) as lent:
        for count, side in [(1, 8), (3, 8), (4, 8), (2, 8), *((1, 16 + i) for i in range(12)), (1, 27)]:
            with lent.filled((count, 3, side, side), lambda memory, stream: shapes.append(memory.shape)):
                pass
        assert [shape[0] for shape in shapes[:4]] == [1, 4, 4, 4]
        assert fake_gpu.calls("cuMemAlloc_v2") == 2 + 12, "the last size is still there"
        assert fake_gpu.calls("cuMemFree_v2") == 1 + 5
