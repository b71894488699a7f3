"""The device layer on a real GPU: what tests/engines/gpu/test_device.py proves of it on a driver without one."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

from nasion.engines.errors import DeviceError
from nasion.engines.gpu.device import Device
from nasion.engines.gpu.graphs import Batches

from ..support.fakes.copying import Copying, counted
from ..support.fakes.cuda import pycuda_example

CROPS = (3, 112, 112)


@pytest.fixture
def gpu() -> Iterator[Device]:
    try:
        opened = Device(0)
    except DeviceError as error:
        pytest.skip(f"no GPU is available: {error}")
    with opened:
        yield opened


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape[0]).random(shape, np.float32)


def free_bytes(device: Device) -> int:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    with device.current() as driver:
        driver.library("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    return free.value


def test_the_gpu_says_what_it_is(gpu: Device) -> None:
    assert gpu.gpu.name
    major, minor = (int(part) for part in gpu.gpu.capability.split("."))
    assert major >= 5
    assert 0 <= minor <= 9
    assert gpu.gpu.memory > 1 << 30


def test_an_array_comes_back_as_it_went(gpu: Device) -> None:
    with gpu.current():
        there, back = gpu.pinned((8, *CROPS), np.float32), gpu.pinned((8, *CROPS), np.float32)
        memory, stream = gpu.memory((8, *CROPS), np.float32), gpu.stream()
        there.array[:] = numbers(8, *CROPS)
        stream.upload(there.array, memory)
        stream.download(memory, back.array)
        stream.wait()
    np.testing.assert_array_equal(back.array, there.array)


def test_a_recorded_graph_repeats_with_new_numbers(gpu: Device) -> None:
    with gpu.current():
        host, back = gpu.pinned((1 << 16,), np.float32), gpu.pinned((1 << 16,), np.float32)
        memory, stream = gpu.memory((1 << 16,), np.float32), gpu.stream()
        with stream.recording() as graph:
            stream.upload(host.array, memory)
            stream.download(memory, back.array)
        stream.wait()
        assert not back.array.any(), "recording runs nothing"
        for value in range(1, 5):
            host.array[:] = value
            graph.launch()
            stream.wait()
            assert (back.array == value).all()


def test_what_cannot_be_recorded_is_an_error_and_the_stream_stays_of_use(gpu: Device) -> None:
    with gpu.current():
        host, memory, stream = gpu.pinned((4,), np.uint8), gpu.memory((4,), np.uint8), gpu.stream()
        with pytest.raises(DeviceError, match="STREAM_CAPTURE"), stream.recording():
            stream.wait()
        stream.upload(host.array, memory)
        stream.wait()


def test_without_a_current_context_the_remedy_is_named(gpu: Device) -> None:
    with gpu.current():
        stream, memory, host = gpu.stream(), gpu.memory((4,), np.uint8), gpu.pinned((4,), np.uint8)

    def outside() -> None:
        with pytest.raises(DeviceError, match=r"INVALID_CONTEXT.*with device\.current\(\)"):
            stream.upload(host.array, memory)

    thread = threading.Thread(target=outside)
    thread.start()
    thread.join()


def test_a_gpu_that_is_full_says_what_to_do_and_goes_on(gpu: Device) -> None:
    with pytest.raises(DeviceError, match=r"(?i)out.of.memory.*close other programs"):
        gpu.memory((2 * gpu.gpu.memory,), np.uint8)
    gpu.memory((1024,), np.uint8).close()


def test_batches_of_all_sizes_come_back_as_they_went(gpu: Device) -> None:
    works: list[Copying] = []
    with Batches(gpu, counted(gpu, works), most=32) as batches:
        for count in (1, 3, 32, 7, 40, 1, 32):
            images = numbers(count, *CROPS)
            np.testing.assert_array_equal(batches(images)["same"], images)
        assert sorted(work.input.shape[0] for work in works) == [1, 4, 8, 32]


def test_images_that_are_on_the_gpu_stay_there(gpu: Device) -> None:
    with Batches(gpu, counted(gpu), most=8) as batches:
        with gpu.current():
            host, there, stream = gpu.pinned((5, *CROPS), "f4"), gpu.memory((5, *CROPS), "f4"), gpu.stream()
            host.array[:] = numbers(5, *CROPS)
            stream.upload(host.array, there)
            stream.wait()

        def fill(memory: object, into: object) -> None:
            with gpu.current() as driver:
                driver.library("cuMemcpyDtoDAsync_v2", memory.address, there.address, there.nbytes, into.handle)

        np.testing.assert_array_equal(batches.run((5, *CROPS), fill)["same"], host.array)


def test_several_threads_get_their_own_results(gpu: Device) -> None:
    inputs = [np.full((1 + i % 8, *CROPS), i, np.float32) for i in range(64)]
    with Batches(gpu, counted(gpu), most=8) as batches, ThreadPoolExecutor(8) as pool:
        for images, out in zip(inputs, pool.map(batches, inputs), strict=True):
            assert (out["same"] == images[0, 0, 0, 0]).all()


def test_work_that_waits_runs_without_a_graph(gpu: Device, caplog: pytest.LogCaptureFixture) -> None:
    with Batches(gpu, counted(gpu, waits=True), most=4) as batches:
        images = numbers(3, *CROPS)
        np.testing.assert_array_equal(batches(images)["same"], images)
        np.testing.assert_array_equal(batches(images)["same"], images)
    assert "without a CUDA graph" in caplog.text


def test_all_memory_is_given_back_from_whatever_thread(gpu: Device) -> None:
    before = free_bytes(gpu)
    other = Device(0)
    with ThreadPoolExecutor(1) as pool:
        memory = pool.submit(other.memory, (1 << 28,), np.uint8).result()
    assert before - free_bytes(gpu) >= memory.nbytes
    with ThreadPoolExecutor(1) as pool:
        pool.submit(other.close).result()
    assert free_bytes(gpu) >= before - (1 << 25)
    with pytest.raises(DeviceError, match="is closed"):
        other.stream()


def test_torch_and_we_share_a_context(gpu: Device) -> None:
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    import torch

    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    values = torch.arange(1000, dtype=torch.float32, device="cuda:0")
    torch.cuda.synchronize()
    with gpu.current() as driver:
        host, stream = gpu.pinned((1000,), np.float32), gpu.stream()
        driver.download(host.array, values.data_ptr(), stream.handle)
        stream.wait()
    np.testing.assert_array_equal(host.array, np.arange(1000, dtype=np.float32))
    assert float(values.sum()) == 499500, "torch goes on in its own context"


def test_pycuda_takes_our_arrays_and_we_take_its_own(gpu: Device) -> None:
    """By the example of docs/engines.md."""
    if find_spec("pycuda") is None:
        pytest.skip("pycuda is not installed: pip install pycuda")
    values = numbers(100)
    np.testing.assert_array_equal(pycuda_example()(values), 2 * values)
