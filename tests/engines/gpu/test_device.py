"""The device layer against a driver without a GPU (fakes/cuda.py); tests/gpu has the same on a real one."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nasion.engines.errors import DeviceError, ModelError
from nasion.engines.gpu import driver
from nasion.engines.gpu import graphs as batches_module
from nasion.engines.gpu.device import Device
from nasion.engines.gpu.graphs import Batches, bucket

from ...support.fakes.copying import Copying, counted
from ...support.fakes.cuda import FakeCuda, fake_pycuda, pycuda_example


@pytest.fixture
def cuda(fake_gpu: FakeCuda) -> FakeCuda:
    """A machine with one GPU, on which nothing is left behind."""
    return fake_gpu


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).random(shape, np.float32)


def test_a_gpu_says_its_name_capability_and_memory(cuda: FakeCuda) -> None:
    cuda.reset(gpus=2, room=1 << 20)
    first, second = driver.gpus()
    assert (first.number, first.name, first.capability, first.memory) == (0, "Fake GPU", "8.9", 1 << 20)
    assert (second.number, second.name) == (1, "Second Fake")
    with Device(1) as device:
        assert device.gpu == second


def test_without_a_driver_or_a_gpu_or_of_that_number_the_message_says_so(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeviceError, match=r"no GPU cuda:3; allowed: cuda:0 \(Fake GPU\)"):
        Device(3)
    cuda.reset(gpus=0)
    with pytest.raises(DeviceError, match=r"CUDA_ERROR_NO_DEVICE.*run on the CPU"):
        Device()
    monkeypatch.setattr(driver, "LIBRARY", "libnothing.so.1")
    with pytest.raises(DeviceError, match=r"no NVIDIA driver: libnothing\.so\.1.*run on the CPU"):
        Device()


def test_an_array_comes_back_from_the_gpu_as_it_went(cuda: FakeCuda) -> None:
    with Device() as device, device.current():
        there, back = device.pinned((3, 4), np.float32), device.pinned((3, 4), np.float32)
        memory, stream = device.memory((3, 4), np.float32), device.stream()
        assert not there.array.any()
        there.array[:] = numbers(3, 4)
        stream.upload(there.array, memory)
        stream.download(memory, back.array)
        assert not back.array.any(), "no work is done before a wait"
        stream.wait()
        np.testing.assert_array_equal(back.array, there.array)


def test_what_does_not_fit_is_refused(cuda: FakeCuda) -> None:
    with Device() as device, device.current():
        memory, stream = device.memory((4,), np.float32), device.stream()
        with pytest.raises(DeviceError, match=r"20 bytes.*does not fit the 16 bytes"):
            stream.upload(device.pinned((5,), np.float32).array, memory)
        with pytest.raises(DeviceError, match="not contiguous"):
            stream.download(memory, device.pinned((4, 2), np.float32).array[:, 0])


def test_an_array_that_is_not_pinned_is_refused(cuda: FakeCuda) -> None:
    with Device() as device, device.current():
        memory, stream = device.memory((4,), np.float32), device.stream()
        with pytest.raises(DeviceError, match="CUDA_ERROR_INVALID_VALUE"):
            stream.upload(np.zeros(4, np.float32), memory)


def test_without_a_current_context_the_remedy_is_named(cuda: FakeCuda) -> None:
    with Device() as device:
        with device.current():
            stream, memory, host = device.stream(), device.memory((4,), np.uint8), device.pinned((4,), np.uint8)
        with pytest.raises(DeviceError, match=r"INVALID_CONTEXT.*call it within 'with device\.current\(\):'"):
            stream.upload(host.array, memory)


def test_a_gpu_that_is_full_says_what_to_do(cuda: FakeCuda) -> None:
    cuda.reset(room=1000)
    with Device() as device, pytest.raises(DeviceError, match=r"out.of.memory.*close other programs|OUT_OF_MEMORY"):
        device.memory((1001,), np.uint8)


def test_recorded_work_is_done_at_each_launch_and_not_before(cuda: FakeCuda) -> None:
    with Device() as device, device.current():
        host, back = device.pinned((4,), np.float32), device.pinned((4,), np.float32)
        memory, stream = device.memory((4,), np.float32), device.stream()
        with stream.recording() as graph:
            stream.upload(host.array, memory)
            stream.download(memory, back.array)
        host.array[:] = 1
        stream.wait()
        assert not back.array.any()
        for value in (2, 3):
            host.array[:] = value
            graph.launch()
            stream.wait()
            assert (back.array == value).all()


def test_what_cannot_be_recorded_is_an_error_and_the_stream_stays_of_use(cuda: FakeCuda) -> None:
    with Device() as device, device.current():
        host, memory, stream = device.pinned((4,), np.uint8), device.memory((4,), np.uint8), device.stream()
        with pytest.raises(DeviceError, match="STREAM_CAPTURE_UNSUPPORTED"), stream.recording():
            stream.wait()
        with pytest.raises(ZeroDivisionError), stream.recording():
            raise ZeroDivisionError
        host.array[:] = 7
        stream.upload(host.array, memory)
        stream.download(memory, host.array)
        stream.wait()


def test_what_is_closed_twice_is_freed_once_and_from_any_thread(cuda: FakeCuda) -> None:
    device = Device()
    memory, host = device.memory((4,), np.uint8), device.pinned((4,), np.uint8)
    device.stream()
    memory.close()
    memory.close()
    assert host.array.shape == (4,)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(device.close).result()
    device.close()
    assert cuda.live == 0
    assert host.array.size == 0
    with pytest.raises(DeviceError, match="Fake GPU is closed"):
        device.memory((4,), np.uint8)


def test_each_thread_has_its_own_current_context(cuda: FakeCuda) -> None:
    device = Device()
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with device.current():
            inside.set()
            assert leave.wait(10)

    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(stay)
        assert inside.wait(10)
        with device.current():
            device.memory((4,), np.uint8).close()
        leave.set()
        staying.result()
    device.close()


@pytest.mark.parametrize(("count", "size"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 4), (5, 6), (6, 6), (9, 6)])
def test_a_batch_is_filled_up_to_a_power_of_two_or_the_most(count: int, size: int) -> None:
    assert bucket(count, 1, 6) == size
    assert bucket(count, 3, 6) == max(size, 3)


def test_every_size_of_batch_gives_what_each_image_gives_alone(cuda: FakeCuda) -> None:
    with Device() as device, Batches(device, counted(device), most=4) as batches:
        for count in (1, 3, 4, 2, 9, 0):
            images = numbers(count, 3, 2, 5)
            out = batches(images)
            np.testing.assert_array_equal(out["same"], images)
            np.testing.assert_array_equal(out["bytes"].ravel(), np.frombuffer(images.tobytes(), np.uint8))
            assert {value.dtype for value in out.values()} == {np.dtype(np.float32)}


def test_results_are_the_callers_to_keep(cuda: FakeCuda) -> None:
    with Device() as device, Batches(device, counted(device), most=4) as batches:
        first = batches(np.full((2, 3, 2, 2), 1, np.float32))
        batches(np.full((2, 3, 2, 2), 2, np.float32))
        assert (first["same"] == 1).all()


def test_a_size_is_recorded_once_and_then_takes_one_copy_one_launch_and_one_wait(cuda: FakeCuda) -> None:
    with Device() as device:
        works: list[Copying] = []
        with Batches(device, counted(device, works), most=8) as batches:
            batches(numbers(3, 3, 2, 2))
            before = {name: cuda.calls(name) for name in CALLS}
            batches(numbers(4, 3, 2, 2))
            assert {name: cuda.calls(name) - before[name] for name in CALLS} == CALLS
            assert [work.input.shape[0] for work in works] == [4]
            batches(numbers(5, 3, 2, 2))
            assert [work.input.shape[0] for work in works] == [4, 8]
        assert all(work.closed for work in works)


CALLS = {
    "cuMemcpyHtoDAsync_v2": 1,
    "cuGraphLaunch": 1,
    "cuStreamSynchronize": 1,
    "cuMemcpyDtoHAsync_v2": 0,
    "cuMemcpyDtoDAsync_v2": 0,
    "cuMemAlloc_v2": 0,
    "cuMemHostAlloc": 0,
}


def test_work_that_cannot_be_recorded_runs_all_the_same_and_is_reported(
    cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    with Device() as device, Batches(device, counted(device, waits=True), most=4) as batches:
        for count in (2, 1):
            images = numbers(count, 3, 2, 2)
            np.testing.assert_array_equal(batches(images)["same"], images)
    assert "without a CUDA graph" in caplog.text


def test_sizes_not_used_for_long_make_room(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "MOST_RECORDINGS", 2)
    works: list[Copying] = []
    with Device() as device, Batches(device, counted(device, works), most=4) as batches:
        for side in (1, 2, 1, 3):
            batches(numbers(1, 3, side, side))
        assert [work.closed for work in works] == [False, True, False]


def test_images_already_on_the_gpu_need_no_copy_of_the_host(cuda: FakeCuda) -> None:
    with Device() as device, Batches(device, counted(device), most=4) as batches, device.current() as calls:
        host, there, stream = (
            device.pinned((3, 3, 2, 2), np.float32),
            device.memory((3, 3, 2, 2), "f4"),
            device.stream(),
        )
        host.array[:] = numbers(3, 3, 2, 2)
        stream.upload(host.array, there)
        stream.wait()

        def fill(memory: object, into: object) -> None:
            calls.library("cuMemcpyDtoDAsync_v2", memory.address, there.address, there.nbytes, into.handle)

        batches(numbers(3, 3, 2, 2))
        before = cuda.calls("cuMemcpyHtoDAsync_v2")
        np.testing.assert_array_equal(batches.run((3, 3, 2, 2), fill)["same"], host.array)
        assert cuda.calls("cuMemcpyHtoDAsync_v2") == before
        with pytest.raises(ModelError, match="at most 4 go together"):
            batches.run((5, 3, 2, 2), fill)


def test_several_threads_get_their_own_results(cuda: FakeCuda) -> None:
    with Device() as device, Batches(device, counted(device), most=4) as batches, ThreadPoolExecutor(4) as pool:
        inputs = [np.full((1 + i % 4, 3, 2, 2), i, np.float32) for i in range(24)]
        for images, out in zip(inputs, pool.map(batches, inputs), strict=True):
            np.testing.assert_array_equal(out["same"], images)


def test_closed_batches_say_so(cuda: FakeCuda) -> None:
    with Device() as device:
        batches = Batches(device, counted(device), most=4)
        batches.close()
        batches.close()
        with pytest.raises(ModelError, match="closed"):
            batches(numbers(1, 3, 2, 2))


def test_memory_that_runs_out_while_a_size_is_prepared_leaves_nothing_behind(cuda: FakeCuda) -> None:
    with Device() as device, Batches(device, counted(device), most=64) as batches:
        batches(numbers(1, 3, 8, 8))
        held = cuda.live
        cuda.reset(room=10_000)
        with pytest.raises(DeviceError, match=r"(?i)out.of.memory"):
            batches(numbers(64, 3, 8, 8))
        assert cuda.live == held
        cuda.reset()
        batches(numbers(64, 3, 8, 8))


def test_pycuda_takes_our_arrays_and_we_take_its_own(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the example of docs/engines.md."""
    modules = fake_pycuda()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    values = numbers(5)
    np.testing.assert_array_equal(pycuda_example()(values), 2 * values)
    modules["pycuda.driver"].Context.finish()


def test_the_context_of_pycuda_is_ours(cuda: FakeCuda) -> None:
    modules = fake_pycuda()
    with Device() as device, device.current() as driver:
        assert driver._context == modules["pycuda.autoprimaryctx"].context.handle
    modules["pycuda.driver"].Context.finish()


def test_an_array_on_the_gpu_describes_itself_to_other_libraries(cuda: FakeCuda) -> None:
    with Device() as device:
        memory = device.memory((3, 4), np.float16)
        described = memory.__cuda_array_interface__
        assert described["data"] == (memory.address, False)
        assert (described["shape"], described["typestr"], described["version"]) == ((3, 4), "<f2", 3)
