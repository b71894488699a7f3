"""One GPU: memory on it, pinned memory beside it, streams of work and recorded graphs.

Everything is put into a stream and none of it waits; ``Stream.wait`` does, once, at the end. What a ``Device`` gave
is freed when it is closed, from whatever thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..closing import Closing
from ..errors import DeviceError
from .driver import Driver, gpu, open_driver


class Device(Closing):
    """A GPU by its primary context, which torch and all else in the process that uses CUDA shares.

    Whatever touches the GPU runs within ``with device.current():``, in any thread.

    Attributes:
        gpu: name, compute capability and memory.
        driver: what makes the calls, ``pycuda`` or ``ctypes``.
    """

    def __init__(self, number: int = 0) -> None:
        """Take hold of ``cuda:number``.

        Raises:
            DeviceError: there is none of that number, or no driver.
        """
        self.gpu = gpu(number)
        self._driver: Driver | None = open_driver(number)
        self.driver = self._driver.name
        self._given: dict[int, Resource] = {}

    @contextmanager
    def current(self) -> Iterator[Driver]:
        """Make this GPU the one that this thread works on; other threads may do the same at the same time.

        Raises:
            DeviceError: the device is closed.
        """
        driver = self._driver
        if driver is None:
            raise DeviceError(f"{self.gpu.name} is closed; open it again")
        driver.push()
        try:
            yield driver
        finally:
            driver.pop()

    def memory(self, shape: tuple[int, ...], dtype: DTypeLike) -> Memory:
        """Room on the GPU for an array."""
        return Memory(self, shape, np.dtype(dtype))

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Pinned:
        """An array on the host that streams copy from and to."""
        return Pinned(self, shape, np.dtype(dtype))

    def stream(self) -> Stream:
        """A queue of work of its own."""
        return Stream(self)

    def given(self, resource: Resource) -> None:
        """Remember what is to be freed."""
        self._given[id(resource)] = resource

    def forget(self, resource: Resource) -> None:
        """It was freed."""
        self._given.pop(id(resource), None)

    def close(self) -> None:
        """Free everything that this device gave; calling it again does nothing."""
        if self._driver is None:
            return
        for resource in reversed(list(self._given.values())):
            resource.close()
        self._driver.release()
        self._driver = None


class Resource(Closing):
    """Something that a device gave."""

    def __init__(self, device: Device) -> None:
        """Belong to ``device``."""
        self._device = device
        self._open = True
        device.given(self)

    def close(self) -> None:
        """Give it back; calling it again does nothing."""
        if self._open:
            self._open = False
            self._device.forget(self)
            with self._device.current() as driver:
                self._free(driver)

    def _free(self, driver: Driver) -> None:
        raise NotImplementedError


class Part(NamedTuple):
    """Some items of an array on the GPU.

    Attributes:
        address: where they begin.
        shape: of them together.
        dtype: of the array.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Memory(Resource):
    """Room on the GPU for one array.

    Attributes:
        address: where it begins.
        shape: of the array.
        dtype: of the array.
    """

    def __init__(self, device: Device, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Allocate it on ``device``, uninitialised."""
        self.shape, self.dtype = shape, dtype
        with device.current() as driver:
            self.address = driver.allocate(max(self.nbytes, 1))
        super().__init__(device)

    @property
    def nbytes(self) -> int:
        """Its length."""
        return prod(self.shape) * self.dtype.itemsize

    def part(self, begin: int, end: int) -> Part:
        """Return items ``begin`` to ``end`` of the first dimension."""
        item = prod(self.shape[1:]) * self.dtype.itemsize
        return Part(self.address + begin * item, (end - begin, *self.shape[1:]), self.dtype)

    def _free(self, driver: Driver) -> None:
        driver.free(self.address)


class Pinned(Resource):
    """An array on the host whose pages stay where they are, so that the GPU copies it without the processor.

    Attributes:
        array: the array, zero at first. Must not be used after ``close``.
    """

    def __init__(self, device: Device, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Allocate it."""
        with device.current() as driver:
            self._bytes = driver.pin(max(prod(shape) * dtype.itemsize, 1))
        self._bytes[:] = 0
        self.array: NDArray[Any] = self._bytes[: prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
        super().__init__(device)

    def _free(self, driver: Driver) -> None:
        driver.unpin(self._bytes)
        self.array = np.empty(0, self.array.dtype)


class Stream(Resource):
    """A queue of work. Its methods put work in and return at once, but for ``wait``.

    Attributes:
        handle: the ``cudaStream_t`` that kernels are launched on.
    """

    def __init__(self, device: Device) -> None:
        """Open it on ``device``."""
        with device.current() as driver:
            self.handle = driver.open_stream()
        self._driver = driver
        super().__init__(device)

    def upload(self, array: NDArray[Any], memory: Memory) -> None:
        """Copy a pinned, contiguous array to the beginning of ``memory``.

        The array must not be changed until ``wait`` has returned.

        Raises:
            DeviceError: it does not fit.
        """
        _fits(array, memory)
        self._driver.upload(memory.address, array, self.handle)

    def download(self, memory: Memory, array: NDArray[Any]) -> None:
        """Copy the beginning of ``memory`` to a pinned, contiguous array, which is filled once ``wait`` has returned.

        Raises:
            DeviceError: the array is longer than the memory.
        """
        _fits(array, memory)
        self._driver.download(array, memory.address, self.handle)

    def launch(self, graph: int) -> None:
        """Put in all that was recorded in a graph."""
        self._driver.launch(graph, self.handle)

    @contextmanager
    def recording(self) -> Iterator[Graph]:
        """Record what is put in within the ``with`` block, instead of doing it.

        Nothing may be allocated or waited for meanwhile.

        Raises:
            DeviceError: what was put in cannot be recorded.
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
        """End a recording that failed, so that the stream is of use again."""
        try:
            self._driver.drop(self._driver.end(self.handle))
        except DeviceError:
            return  # CUDA has ended it itself

    def wait(self) -> None:
        """Wait until all that was put in is done.

        Raises:
            DeviceError: some of it failed.
        """
        self._driver.wait(self.handle)

    def _free(self, driver: Driver) -> None:
        driver.close_stream(self.handle)


class Graph(Resource):
    """Recorded work: one launch instead of many."""

    def __init__(self, device: Device, stream: Stream) -> None:
        """Belong to ``stream``; nothing is recorded yet."""
        self.handle = 0
        self._stream = stream
        super().__init__(device)

    def launch(self) -> None:
        """Put all that was recorded into the stream that recorded it."""
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
