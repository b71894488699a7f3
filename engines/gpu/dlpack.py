"""Views of arrays of other libraries by DLPack, the common exchange format.

Ownership is not transferred: the array stays with its library and lives as long as the ``ArrayView`` is referenced.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint64, c_void_p, py_object
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import DeviceError

_CPU, _CUDA, _CUDA_HOST, _CUDA_MANAGED = 1, 2, 3, 13  # DLPack's device types
_NAME = b"dltensor"  # name of a capsule that has not been consumed


class _DataType(ctypes.Structure):
    _fields_ = (("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16))


class DLTensor(ctypes.Structure):
    """The struct ``DLTensor``, at the address in a capsule; the fields behind it do not matter here."""

    _fields_ = (
        ("data", c_void_p), ("device_type", c_int32), ("device_id", c_int32), ("ndim", c_int32), ("dtype", _DataType),
        ("shape", POINTER(c_int64)), ("strides", POINTER(c_int64)), ("byte_offset", c_uint64),
    )  # fmt: skip


class Exporter(Protocol):
    """Object with ``__dlpack__``: a plane of a video frame in PyAV, a torch tensor, a NumPy array."""

    def __dlpack__(self) -> Any:
        """Return a capsule that holds the address of a ``DLTensor``."""
        ...


@dataclass(frozen=True, slots=True)
class ArrayView:
    """An array of another library.

    Attributes:
        address: address of its first element.
        shape: number of elements along each axis.
        strides: bytes from one element to the next along each axis.
        item: bytes per element.
        device: ``cpu`` or ``cuda:N``.
        owner: object that keeps the array alive.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    item: int
    device: str
    owner: object


def view_of(exporter: Exporter) -> ArrayView:
    """Return address, layout and device of an array.

    Raises:
        DeviceError: the array is on a device that is neither the CPU nor an NVIDIA GPU.
    """
    capsule = exporter.__dlpack__()
    found = pointed(capsule)
    shape = tuple(found.shape[: found.ndim])
    item = found.dtype.bits * found.dtype.lanes // 8
    strides = tuple(item * each for each in found.strides[: found.ndim]) if found.strides else _compact(shape, item)
    device = _device(found.device_type, found.device_id)
    return ArrayView((found.data or 0) + found.byte_offset, shape, strides, item, device, capsule)


def pointed(capsule: object) -> DLTensor:
    """Return the ``DLTensor`` of a capsule."""
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = c_void_p, (py_object, c_char_p)
    return DLTensor.from_address(pointer_of(capsule, _NAME))


def _compact(shape: tuple[int, ...], item: int) -> tuple[int, ...]:
    """Return the strides in bytes of a contiguous array, which DLPack may omit."""
    strides = [item]
    for length in shape[:0:-1]:
        strides.append(strides[-1] * length)
    return tuple(reversed(strides[: len(shape)]))


def _device(kind: int, number: int) -> str:
    if kind in (_CPU, _CUDA_HOST):
        return "cpu"
    if kind in (_CUDA, _CUDA_MANAGED):
        return f"cuda:{number}"
    raise DeviceError(f"an array is on a device of DLPack type {kind}; allowed: the CPU (1), NVIDIA's GPUs (2)")
