"""Bindings of the CUDA driver API by ctypes.

They need no compiler and no package, only the library of NVIDIA's driver. All handles and addresses are plain integers.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError, NoGpu

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

Bytes = NDArray[np.uint8]

_INT, _HANDLE = POINTER(c_int), POINTER(c_void_p)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDriverGetVersion": (_INT,),
    "cuDeviceGetCount": (_INT,),
    "cuDeviceGet": (_INT, c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (_INT, c_int, c_int),
    "cuDeviceTotalMem_v2": (POINTER(c_size_t), c_int),
    "cuDevicePrimaryCtxSetFlags_v2": (c_int, c_uint),
    "cuDevicePrimaryCtxRetain": (_HANDLE, c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (_HANDLE,),
    "cuMemAlloc_v2": (_HANDLE, c_size_t),
    "cuMemFree_v2": (c_void_p,),
    "cuMemHostAlloc": (_HANDLE, c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_void_p, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_void_p, c_void_p, c_size_t, c_void_p),
    "cuModuleLoadData": (_HANDLE, c_char_p),
    "cuModuleGetFunction": (_HANDLE, c_void_p, c_char_p),
    "cuModuleUnload": (c_void_p,),
    "cuLaunchKernel": (c_void_p, *(c_uint,) * 7, c_void_p, POINTER(c_void_p), c_void_p),
    "cuStreamCreate": (_HANDLE, c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, _HANDLE),
    "cuGraphInstantiateWithFlags": (_HANDLE, c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
}
_MAJOR, _MINOR = 75, 76  # device attributes: compute capability
_BLOCKING_SYNC = 4  # a thread that waits sleeps, instead of keeping a core busy
_NON_BLOCKING = 1  # a stream that never waits for the default one
_PORTABLE = 1  # pinned memory that is valid in every context
_THREAD_LOCAL = 1  # calls of other threads do not affect the recording of a graph

_REMEDIES = {
    "CUDA_ERROR_OUT_OF_MEMORY": "close other programs on this GPU, or run fewer or smaller images at a time",
    "CUDA_ERROR_NO_DEVICE": "there is no NVIDIA GPU, or CUDA_VISIBLE_DEVICES hides it; networks also run on the CPU",
    "CUDA_ERROR_INVALID_CONTEXT": "call it within 'with device.current():'",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "reboot: NVIDIA's driver was updated under the running system",
}


class Library:
    """CUDA's driver library, with a check of every call."""

    def __init__(self) -> None:
        """Load and initialise the library.

        Raises:
            DeviceError: there is no driver library, it is too old, or it finds no GPU.
        """
        try:
            library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise NoGpu(f"no NVIDIA driver: {error}; install it, or let networks run on the CPU") from error
        self._functions: dict[str, Any] = {}
        for name, arguments in _SIGNATURES.items():
            try:
                self._functions[name] = getattr(library, name)
            except AttributeError as error:
                raise DeviceError(f"NVIDIA's driver is too old: it lacks {name}; install a newer one") from error
            self._functions[name].argtypes = arguments
        self("cuInit", 0)

    def __call__(self, name: str, *arguments: Any) -> None:
        """Call a function by its name.

        Raises:
            DeviceError: the call failed.
        """
        status = self._functions[name](*arguments)
        if status:
            error, text = self._text("cuGetErrorName", status), self._text("cuGetErrorString", status)
            remedy = _REMEDIES.get(error, "see nvidia-smi for the state of the GPU")
            kind = NoGpu if error == "CUDA_ERROR_NO_DEVICE" else DeviceError
            raise kind(f"{name} failed with {error} ({text}): {remedy}")

    def _text(self, function: str, status: int) -> str:
        text = c_char_p()
        self._functions[function](status, ctypes.byref(text))
        return text.value.decode() if text.value else f"error {status}"

    def handle(self, name: str, *arguments: Any) -> int:
        """Call a function that writes a handle to its first argument, and return the handle; 0 for none."""
        handle = c_void_p()
        self(name, ctypes.byref(handle), *arguments)
        return handle.value or 0

    def number(self, name: str, *arguments: Any) -> int:
        """Call a function that writes an integer to its first argument, and return the integer."""
        number = c_int()
        self(name, ctypes.byref(number), *arguments)
        return number.value


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU.

    Attributes:
        number: N of ``cuda:N``.
        name: NVIDIA's name.
        capability: compute capability, e.g. ``8.9``.
        memory: size of its memory in bytes.
    """

    number: int
    name: str
    capability: str
    memory: int

    @property
    def make(self) -> str:
        """Name and memory. GPUs of one name are sold with different chips, which differ in memory."""
        return f"{self.name}, {self.memory / 2**30:.1f} GB"


def gpus() -> tuple[Gpu, ...]:
    """Return the GPUs of this machine, at least one.

    Raises:
        DeviceError: there is no GPU; the message states the reason.
    """
    library = Library()
    return tuple(_look(library, number) for number in range(library.number("cuDeviceGetCount")))


def gpu(number: int) -> Gpu:
    """Return the GPU ``cuda:number``.

    Raises:
        DeviceError: there is no GPU of that number.
    """
    found = gpus()
    if not 0 <= number < len(found):
        allowed = ", ".join(f"cuda:{each.number} ({each.name})" for each in found)
        raise DeviceError(f"there is no GPU cuda:{number}; allowed: {allowed or 'cpu'}")
    return found[number]


def _look(library: Library, number: int) -> Gpu:
    device = library.number("cuDeviceGet", number)
    name, memory = ctypes.create_string_buffer(256), c_size_t()
    library("cuDeviceGetName", name, len(name), device)
    library("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    major, minor = (library.number("cuDeviceGetAttribute", each, device) for each in (_MAJOR, _MINOR))
    return Gpu(number, name.value.decode(), f"{major}.{minor}", memory.value)


class Driver:
    """Context, memory, streams and graphs of one GPU.

    The context must be current for all methods except ``push`` and ``release``.
    """

    def __init__(self, number: int) -> None:
        """Retain the primary context of GPU ``number``.

        CUDA's runtime, torch, TensorRT and ``pycuda.autoprimaryctx`` use it too.
        """
        self.library = Library()
        self._device = self.library.number("cuDeviceGet", number)
        self.library("cuDevicePrimaryCtxSetFlags_v2", self._device, _BLOCKING_SYNC)
        self._context = self.library.handle("cuDevicePrimaryCtxRetain", self._device)

    def release(self) -> None:
        """Release the primary context."""
        self.library("cuDevicePrimaryCtxRelease_v2", self._device)

    def push(self) -> None:
        """Make the context current in this thread."""
        self.library("cuCtxPushCurrent_v2", self._context)

    def pop(self) -> None:
        """Restore the previous context of this thread."""
        self.library.handle("cuCtxPopCurrent_v2")

    def allocate(self, size: int) -> int:
        """Allocate ``size`` bytes on the GPU and return their address."""
        return self.library.handle("cuMemAlloc_v2", size)

    def free(self, address: int) -> None:
        """Free memory from ``allocate``."""
        self.library("cuMemFree_v2", address)

    def pin(self, size: int) -> Bytes:
        """Allocate ``size`` bytes of pinned host memory, which the GPU copies without the CPU."""
        address = self.library.handle("cuMemHostAlloc", size, _PORTABLE)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def unpin(self, array: Bytes) -> None:
        """Free memory from ``pin``; the array must not be used afterwards."""
        self.library("cuMemFreeHost", array.ctypes.data)

    def load(self, image: bytes) -> int:
        """Load compiled kernels and return their module."""
        return self.library.handle("cuModuleLoadData", image)

    def kernel(self, module: int, symbol: str) -> int:
        """Return a kernel of a module by its symbol."""
        return self.library.handle("cuModuleGetFunction", module, symbol.encode())

    def unload(self, module: int) -> None:
        """Free a module from ``load``."""
        self.library("cuModuleUnload", module)

    def run_kernel(
        self, kernel: int, grid: tuple[int, int, int], block: tuple[int, int], values: Sequence[Any], stream: int
    ) -> None:
        """Enqueue a kernel with values of ctypes as its arguments, which are read before the call returns."""
        addresses = (c_void_p * len(values))(*map(ctypes.addressof, values))
        self.library("cuLaunchKernel", kernel, *grid, *block, 1, 0, stream, addresses, None)

    def open_stream(self) -> int:
        """Open a stream that does not wait for other streams."""
        return self.library.handle("cuStreamCreate", _NON_BLOCKING)

    def close_stream(self, stream: int) -> None:
        """Close a stream from ``open_stream``."""
        self.library("cuStreamDestroy_v2", stream)

    def wait(self, stream: int) -> None:
        """Wait until all work of the stream is done."""
        self.library("cuStreamSynchronize", stream)

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        """Enqueue a copy from pinned memory to the GPU."""
        self.library("cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, stream)

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        """Enqueue a copy from the GPU to pinned memory."""
        self.library("cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, stream)

    def begin(self, stream: int) -> None:
        """Start to record the work enqueued on the stream instead of running it."""
        self.library("cuStreamBeginCapture_v2", stream, _THREAD_LOCAL)

    def end(self, stream: int) -> int:
        """End the recording and return an executable graph for ``launch``."""
        recorded = c_void_p()
        self.library("cuStreamEndCapture", stream, ctypes.byref(recorded))
        try:
            return self.library.handle("cuGraphInstantiateWithFlags", recorded, 0)
        finally:
            self.library("cuGraphDestroy", recorded)

    def launch(self, graph: int, stream: int) -> None:
        """Enqueue a graph on the stream."""
        self.library("cuGraphLaunch", graph, stream)

    def drop(self, graph: int) -> None:
        """Free a graph from ``end``."""
        self.library("cuGraphExecDestroy", graph)
