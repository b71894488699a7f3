"""Where an array of another library lies in memory, by DLPack: the exchange format that they all speak.

Only looked at, never taken over: the array stays with its library, and lives as long as somebody holds the ``Tensor``.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint64, c_void_p, py_object
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import DeviceError

_CPU, _CUDA, _CUDA_HOST, _CUDA_MANAGED = 1, 2, 3, 13  # kinds of device, as DLPack numbers them
_NAME = b"dltensor"  # of a capsule that nobody has taken over


class _DataType(ctypes.Structure):
    _fields_ = (("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16))


class DLTensor(ctypes.Structure):
    """The struct ``DLTensor``; a capsule's pointer leads to it, whatever follows."""

    _fields_ = (
        ("data", c_void_p), ("device_type", c_int32), ("device_id", c_int32), ("ndim", c_int32), ("dtype", _DataType),
        ("shape", POINTER(c_int64)), ("strides", POINTER(c_int64)), ("byte_offset", c_uint64),
    )  # fmt: skip


class Exporter(Protocol):
    """Whatever has ``__dlpack__``: a plane of a video frame in PyAV, a tensor of torch, an array of NumPy."""

    def __dlpack__(self) -> Any:
        """A capsule that leads to a ``DLTensor``."""
        ...


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array of another library.

    Attributes:
        address: of its first element.
        shape: elements along each axis.
        strides: bytes from one element to the next along each axis.
        item: bytes of an element.
        device: ``cpu`` or ``cuda:N``.
        owner: keeps it alive.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    item: int
    device: str
    owner: object


def look(exporter: Exporter) -> Tensor:
    """Where an array lies, and how.

    Raises:
        DeviceError: on a device that is neither the CPU nor a GPU of NVIDIA.
    """
    capsule = exporter.__dlpack__()
    found = pointed(capsule)
    shape = tuple(found.shape[: found.ndim])
    item = found.dtype.bits * found.dtype.lanes // 8
    strides = tuple(item * each for each in found.strides[: found.ndim]) if found.strides else _compact(shape, item)
    device = _device(found.device_type, found.device_id)
    return Tensor((found.data or 0) + found.byte_offset, shape, strides, item, device, capsule)


def pointed(capsule: object) -> DLTensor:
    """What a capsule leads to."""
    follow = ctypes.pythonapi.PyCapsule_GetPointer
    follow.restype, follow.argtypes = c_void_p, (py_object, c_char_p)
    return DLTensor.from_address(follow(capsule, _NAME))


def _compact(shape: tuple[int, ...], item: int) -> tuple[int, ...]:
    """Strides of rows without gaps, which DLPack need not write down."""
    strides = [item]
    for length in shape[:0:-1]:
        strides.append(strides[-1] * length)
    return tuple(reversed(strides[: len(shape)]))


def _device(kind: int, number: int) -> str:
    if kind in (_CPU, _CUDA_HOST):
        return "cpu"
    if kind in (_CUDA, _CUDA_MANAGED):
        return f"cuda:{number}"
    raise DeviceError(f"an array lies on a device of DLPack's kind {kind}; allowed: the CPU (1), NVIDIA's GPUs (2)")
