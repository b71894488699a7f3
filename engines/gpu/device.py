"""One GPU: device memory, pinned host memory, streams and CUDA graphs.

All work is enqueued on a stream and does not block; only ``Stream.wait`` does. Closing a ``Device``, from any thread,
frees all resources allocated from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..closing import Closing
from ..errors import DeviceError
from .driver import Driver, gpu


class Device(Closing):
    """A GPU by its primary context, which is shared with torch, pycuda.autoprimaryctx and CUDA's runtime.

    All calls that use the GPU must run within ``with device.current():``, in any thread.

    Attributes:
        gpu: name, compute capability and memory.
    """

    def __init__(self, number: int = 0) -> None:
        """Open ``cuda:number``.

        Raises:
            DeviceError: there is no GPU of that number, or no driver.
        """
        self.gpu = gpu(number)
        self._driver: Driver | None = Driver(number)
        self._current = _Current(self._driver)
        self._given: dict[int, Resource] = {}

    def current(self) -> AbstractContextManager[Driver]:
        """Make this GPU current in this thread. Other threads may do the same at the same time.

        Raises:
            DeviceError: the device is closed.
        """
        if self._driver is None:
            raise DeviceError(f"{self.gpu.name} is closed; open it again")
        return self._current

    def memory(self, shape: tuple[int, ...], dtype: DTypeLike) -> Memory:
        """Allocate GPU memory for an array."""
        return Memory(self, shape, np.dtype(dtype))

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Pinned:
        """Allocate an array in pinned host memory, for copies by streams."""
        return Pinned(self, shape, np.dtype(dtype))

    def stream(self) -> Stream:
        """Open a stream."""
        return Stream(self)

    def given(self, resource: Resource) -> None:
        """Register a resource to be freed when the device is closed."""
        self._given[id(resource)] = resource

    def forget(self, resource: Resource) -> None:
        """Remove a resource that was freed."""
        self._given.pop(id(resource), None)

    def close(self) -> None:
        """Free all resources of this device. Further calls do nothing."""
        if self._driver is None:
            return
        for resource in reversed(list(self._given.values())):
            resource.close()
        self._driver.release()
        self._driver = None


class _Current(AbstractContextManager["Driver"]):
    """Context of a GPU, current in a thread within the ``with`` block; a class, because every frame enters it."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __enter__(self) -> Driver:
        self._driver.push()
        return self._driver

    def __exit__(self, *error: object) -> None:
        self._driver.pop()


class Resource(Closing):
    """Base class of resources of a device."""

    def __init__(self, device: Device) -> None:
        """Register the resource with ``device``."""
        self._device = device
        self._open = True
        device.given(self)

    def close(self) -> None:
        """Free the resource. Further calls do nothing."""
        if self._open:
            self._open = False
            self._device.forget(self)
            with self._device.current() as driver:
                self._free(driver)

    def _free(self, driver: Driver) -> None:
        raise NotImplementedError


class MemorySlice(NamedTuple):
    """Slice of an array on the GPU.

    Attributes:
        address: address of the first element.
        shape: shape of the slice.
        dtype: dtype of the array.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Memory(Resource):
    """GPU memory of one array, which kernels of pycuda, CuPy and Numba take as an argument.

    Attributes:
        address: address of the first element.
        shape: shape of the array.
        dtype: dtype of the array.
    """

    def __init__(self, device: Device, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Allocate uninitialised memory on ``device``."""
        self.shape, self.dtype = shape, dtype
        with device.current() as driver:
            self.address = driver.allocate(max(self.nbytes, 1))
        super().__init__(device)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Describe the array to other libraries, by version 3 of the CUDA Array Interface.

        It states no stream: wait for the work that fills the memory before another library reads it.
        """
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": None,
        }

    def part(self, begin: int, end: int) -> MemorySlice:
        """Return items ``begin`` to ``end`` of the first dimension."""
        item = prod(self.shape[1:]) * self.dtype.itemsize
        return MemorySlice(self.address + begin * item, (end - begin, *self.shape[1:]), self.dtype)

    def _free(self, driver: Driver) -> None:
        driver.free(self.address)


class Pinned(Resource):
    """An array in page-locked host memory, which the GPU copies without the CPU.

    Attributes:
        array: the array, initially zero. Must not be used after ``close``.
    """

    def __init__(self, device: Device, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Allocate the array and set it to zero."""
        with device.current() as driver:
            self._bytes = driver.pin(max(prod(shape) * dtype.itemsize, 1))
        self._bytes[:] = 0
        self.array: NDArray[Any] = self._bytes[: prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
        super().__init__(device)

    def _free(self, driver: Driver) -> None:
        driver.unpin(self._bytes)
        self.array = np.empty(0, self.array.dtype)


class Stream(Resource):
    """A CUDA stream. All methods enqueue work and return at once, except ``wait``.

    Attributes:
        handle: the ``cudaStream_t`` that kernels are launched on.
    """

    def __init__(self, device: Device) -> None:
        """Open a stream on ``device``."""
        with device.current() as driver:
            self.handle = driver.open_stream()
        self._driver = driver
        super().__init__(device)

    def upload(self, array: NDArray[Any], memory: Memory) -> None:
        """Copy a pinned, contiguous array to the beginning of ``memory``.

        The array must not be changed until ``wait`` has returned.

        Raises:
            DeviceError: the array is longer than the memory, or is not contiguous.
        """
        _fits(array, memory)
        self._driver.upload(memory.address, array, self.handle)

    def download(self, memory: Memory, array: NDArray[Any]) -> None:
        """Copy the beginning of ``memory`` to a pinned, contiguous array, which is filled once ``wait`` has returned.

        Raises:
            DeviceError: the array is longer than the memory, or is not contiguous.
        """
        _fits(array, memory)
        self._driver.download(array, memory.address, self.handle)

    def launch(self, graph: int) -> None:
        """Enqueue a recorded graph."""
        self._driver.launch(graph, self.handle)

    @contextmanager
    def recording(self) -> Iterator[Graph]:
        """Record the work enqueued within the ``with`` block instead of running it.

        Allocating and waiting are not allowed in the block.

        Raises:
            DeviceError: the work cannot be recorded.
        """
        graph = Graph(self._device, self)
        self._driver.begin(self.handle)
        try:
            yield graph
            graph.handle = self._driver.end(self.handle)
        except BaseException:
            self._abandon()
            graph.close()
            raise

    def _abandon(self) -> None:
        """End a recording that failed, so that the stream can be used again."""
        try:
            self._driver.drop(self._driver.end(self.handle))
        except DeviceError:
            return  # CUDA has already ended it

    def wait(self) -> None:
        """Wait until all enqueued work is done.

        Raises:
            DeviceError: some of the work failed.
        """
        self._driver.wait(self.handle)

    def _free(self, driver: Driver) -> None:
        driver.close_stream(self.handle)


class Graph(Resource):
    """A CUDA graph: recorded work, started by one launch instead of many."""

    def __init__(self, device: Device, stream: Stream) -> None:
        """Create an empty graph that will be recorded on ``stream``."""
        self.handle = 0
        self._stream = stream
        super().__init__(device)

    def launch(self) -> None:
        """Enqueue the graph on the stream that recorded it."""
        self._stream.launch(self.handle)

    def _free(self, driver: Driver) -> None:
        if self.handle:
            driver.drop(self.handle)


def _fits(array: NDArray[Any], memory: Memory) -> None:
    if array.nbytes > memory.nbytes or not array.flags.c_contiguous:
        raise DeviceError(
            f"an array of {array.nbytes} bytes ({'' if array.flags.c_contiguous else 'not '}contiguous) does not fit "
            f"the {memory.nbytes} bytes on the GPU; give a contiguous array that is not longer"
        )
