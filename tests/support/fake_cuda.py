"""A machine with GPUs that are not there: the fake driver library, and a pycuda that talks to it.

The library (fake_libcuda.cpp) is compiled by the tests; our ctypes calls reach it as they would reach NVIDIA's.
``pycuda`` below has the few names of the real one that we use, with its rules: it frees only in a context that is
current in the calling thread, and a context that is let go in another thread than its first must be current there.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nasion.engines.gpu import driver

SOURCE = Path(__file__).with_name("fake_libcuda.cpp")


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
    """What tests ask of the fake driver beyond CUDA's own functions."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.fake_live.restype = ctypes.c_longlong
        self._library.fake_reset.argtypes = (ctypes.c_int, ctypes.c_longlong)

    def reset(self, gpus: int = 1, room: int = 1 << 30) -> None:
        """So many GPUs, with room for so many bytes at a time; counts of calls start anew."""
        self._library.fake_reset(gpus, room)

    @property
    def live(self) -> int:
        """Contexts, memory, streams and graphs that were not given back."""
        return int(self._library.fake_live())

    def calls(self, name: str) -> int:
        """How often a function of the driver was called."""
        return int(self._library.fake_calls(name.encode()))


def fake_pycuda() -> dict[str, ModuleType]:
    """Modules ``pycuda`` and ``pycuda.driver`` over the fake driver library."""
    package, module = ModuleType("pycuda"), ModuleType("pycuda.driver")
    package.__path__ = []
    package.driver = module
    for name, value in {
        "Error": Error,
        "init": lambda: None,
        "Device": Device,
        "Context": Context,
        "mem_alloc": DeviceAllocation,
        "pagelocked_empty": lambda size, dtype: np.asarray(HostAllocation(size)),  # of bytes
        "Stream": Stream,
    }.items():
        setattr(module, name, value)
    package.__spec__ = __import__("importlib.machinery").machinery.ModuleSpec("pycuda", None, is_package=True)
    return {"pycuda": package, "pycuda.driver": module}


class Error(Exception):
    """What pycuda raises."""


_threads = threading.local()


def _stack() -> list[Context]:
    if not hasattr(_threads, "contexts"):
        _threads.contexts = []
    return _threads.contexts


def _call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(driver.LIBRARY)
    function = getattr(library, name)
    function.argtypes = driver._SIGNATURES[name]
    if status := function(*arguments):
        text = {2: "out of memory", 201: "invalid device context"}.get(status, f"error {status}")
        raise Error(f"{name} failed: {text}")


def _handle(name: str, *arguments: object) -> int:
    handle = ctypes.c_void_p()
    _call(name, ctypes.byref(handle), *arguments)
    return handle.value or 0


class Device:
    def __init__(self, number: int) -> None:
        self._number = number

    def retain_primary_context(self) -> Context:
        return Context(_handle("cuDevicePrimaryCtxRetain", self._number), self._number)


class Context:
    def __init__(self, handle: int, number: int) -> None:
        self.handle, self._number, self._thread = handle, number, threading.get_ident()

    def push(self) -> None:
        if _stack():
            _handle("cuCtxPopCurrent_v2")
        _call("cuCtxPushCurrent_v2", self.handle)
        _stack().append(self)

    @staticmethod
    def pop() -> None:
        _handle("cuCtxPopCurrent_v2")
        _stack().pop()
        if _stack():
            _call("cuCtxPushCurrent_v2", _stack()[-1].handle)

    def detach(self) -> None:
        active = bool(_stack()) and _stack()[-1] is self
        if not active and self._thread != threading.get_ident():
            return  # pycuda leaves it as it is, without a word
        if not active:
            _call("cuCtxPushCurrent_v2", self.handle)
        _call("cuDevicePrimaryCtxRelease_v2", self._number)
        if active:
            while _stack() and _stack()[-1] is self:
                _stack().pop()
            if _stack():
                _call("cuCtxPushCurrent_v2", _stack()[-1].handle)


class _Owned:
    """Something that belongs to the context that is current."""

    def __init__(self) -> None:
        if not _stack():
            raise Error("invalid device context")
        self._context = _stack()[-1]

    def _free(self, function: str, handle: int) -> None:
        foreign = self._context._thread != threading.get_ident()
        if (not _stack() or _stack()[-1] is not self._context) and foreign:
            raise AssertionError("cleaned up in another thread than its context's, where that is not current")
        _call(function, handle)


class DeviceAllocation(_Owned):
    def __init__(self, size: int) -> None:
        super().__init__()
        self._address = _handle("cuMemAlloc_v2", size)

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        self._free("cuMemFree_v2", self._address)


class HostAllocation(_Owned):
    def __init__(self, size: int) -> None:
        super().__init__()
        self._address = _handle("cuMemHostAlloc", size, 0)
        self.__array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (self._address, False), "version": 3}

    def free(self) -> None:
        self._free("cuMemFreeHost", self._address)


class Stream(_Owned):
    def __init__(self, flags: int = 0) -> None:
        super().__init__()
        self.handle = _handle("cuStreamCreate", flags)

    def __del__(self) -> None:
        self._free("cuStreamDestroy_v2", self.handle)
