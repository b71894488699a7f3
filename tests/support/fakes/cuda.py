"""A machine with GPUs that are not there: the fake driver library, and a pycuda that talks to it.

The library (libcuda.cpp) is compiled by the tests; our ctypes calls reach it as they would reach NVIDIA's.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nasion.engines.gpu import driver

SOURCE = Path(__file__).with_name("libcuda.cpp")


def build(folder: Path) -> Path:
    """Compile the fake driver library."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None or sys.platform == "win32":
        pytest.skip("the fake CUDA driver needs a C++ compiler (g++)")
    library = folder / "fake_libcuda.so"
    command = [compiler, "-std=c++17", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True)
    return library


class FakeCuda:
    """Functions of the fake driver for tests, beyond CUDA's own."""

    def __init__(self, library: Path) -> None:
        self.library = self._library = ctypes.CDLL(str(library))
        self._library.fake_live.restype = ctypes.c_longlong
        self._library.fake_reset.argtypes = (ctypes.c_int, ctypes.c_longlong)

    def reset(self, gpus: int = 1, room: int = 1 << 30) -> None:
        """Start over with so many GPUs and bytes of memory; counts of calls restart at 0."""
        self._library.fake_reset(gpus, room)

    @property
    def live(self) -> int:
        """Contexts, memory, streams and graphs that were not given back."""
        return int(self._library.fake_live())

    def calls(self, name: str) -> int:
        """Return the number of calls of a function of the driver."""
        return int(self._library.fake_calls(name.encode()))


def fake_pycuda() -> dict[str, ModuleType]:
    """Modules of pycuda over the fake driver library: what docs/engines.md uses of them.

    ``autoprimaryctx`` makes the primary context current when it is imported; here, when this function is called.
    """
    names = ("pycuda", "pycuda.autoprimaryctx", "pycuda.compiler", "pycuda.driver")
    modules = {name: ModuleType(name) for name in names}
    for name, module in modules.items():
        setattr(modules["pycuda"], name.rpartition(".")[2], module)
    cuda = modules["pycuda.driver"]
    cuda.mem_alloc, cuda.memcpy_dtod, cuda.Context = DeviceAllocation, _copy, Context
    modules["pycuda.compiler"].SourceModule = SourceModule
    modules["pycuda.autoprimaryctx"].context = Context()
    return modules


def pycuda_example() -> Callable[[np.ndarray], np.ndarray]:
    """The function of docs/engines.md that shares arrays with pycuda."""
    page = (Path(__file__).parents[3] / "docs" / "engines.md").read_text()
    (block,) = re.findall(r"```python\n([^`]*pycuda[^`]*)```", page)
    names: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    exec(block, names)
    return names["doubled"]


def _call(name: str, *arguments: object) -> None:
    function = getattr(ctypes.CDLL(driver.LIBRARY), name)
    function.argtypes = driver._SIGNATURES[name]
    assert function(*arguments) == 0, name


def _copy(to: DeviceAllocation, address: int, size: int) -> None:
    ctypes.memmove(int(to), address, size)  # the memory of the fake GPU is that of the host


class Context:
    """The primary context, which is current until ``finish``."""

    def __init__(self) -> None:
        handle = ctypes.c_void_p()
        _call("cuDevicePrimaryCtxRetain", ctypes.byref(handle), 0)
        _call("cuCtxPushCurrent_v2", handle)
        self.handle = handle.value

    @staticmethod
    def synchronize() -> None:
        """The kernel and the copy below are done at once."""

    @staticmethod
    def finish() -> None:
        """Free the context as pycuda does at the end of the process."""
        _call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
        _call("cuDevicePrimaryCtxRelease_v2", 0)


class DeviceAllocation:
    """Memory in the context that is current."""

    def __init__(self, size: int) -> None:
        address = ctypes.c_void_p()
        _call("cuMemAlloc_v2", ctypes.byref(address), size)
        self._address = address.value or 0

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        _call("cuMemFree_v2", self._address)


class SourceModule:
    """Code with one kernel, which doubles float32 numbers; arguments are read as pycuda reads them."""

    def __init__(self, source: str) -> None:
        assert "*= 2" in source

    def get_function(self, name: str) -> Callable[..., None]:
        def kernel(array: object, *, block: tuple[int, int, int]) -> None:
            address = array.__cuda_array_interface__["data"][0]  # type: ignore[attr-defined]
            np.ctypeslib.as_array((ctypes.c_float * block[0]).from_address(address))[:] *= 2

        return kernel
