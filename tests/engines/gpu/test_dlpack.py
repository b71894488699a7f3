"""Arrays of other libraries, looked at where they lie."""

from __future__ import annotations

import ctypes

import av
import numpy as np
import pytest
import torch

from nasion.engines.errors import DeviceError
from nasion.engines.gpu.dlpack import pointed, view_of


def test_an_array_of_numpy_is_found_where_it_lies() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, 1:]
    tensor = view_of(array)
    assert tensor.address == array.ctypes.data
    assert (tensor.shape, tensor.strides, tensor.item, tensor.device) == ((2, 2, 4), array.strides, 4, "cpu")


def test_a_tensor_of_torch_is_found_where_it_lies() -> None:
    tensor = torch.zeros(3, 5, dtype=torch.int16).T
    found = view_of(tensor)
    assert (found.address, found.shape, found.strides) == (tensor.data_ptr(), (5, 3), (2, 10))


def test_the_planes_of_a_video_frame_are_found_with_their_pitch() -> None:
    luma, chroma = (view_of(plane) for plane in av.VideoFrame(70, 48, "nv12").planes)
    assert (luma.shape, chroma.shape) == ((48, 70), (24, 35, 2))
    assert luma.strides[0] >= 70
    assert chroma.strides == (luma.strides[0], 2, 1)


def test_what_was_looked_at_lives_as_long_as_the_look() -> None:
    frame = av.VideoFrame(64, 48, "nv12")
    luma = view_of(frame.planes[0])
    ctypes.memset(luma.address, 7, 64)
    del frame
    for _ in range(8):
        av.VideoFrame(64, 48, "nv12")  # would take over memory that is free
    assert ctypes.string_at(luma.address, 64) == b"\x07" * 64


def test_rows_without_gaps_need_no_strides() -> None:
    class Compact:
        def __dlpack__(self) -> object:
            capsule = np.zeros((2, 3, 4), np.float64).__dlpack__()
            pointed(capsule).strides = None
            return capsule

    assert view_of(Compact()).strides == (96, 32, 8)


def test_another_device_is_named_with_its_number() -> None:
    class Elsewhere:
        def __init__(self, kind: int) -> None:
            self._kind = kind

        def __dlpack__(self) -> object:
            capsule = np.zeros(3).__dlpack__()
            pointed(capsule).device_type, pointed(capsule).device_id = self._kind, 1
            return capsule

    assert view_of(Elsewhere(2)).device == "cuda:1"
    assert view_of(Elsewhere(3)).device == "cpu"  # pinned memory
    with pytest.raises(DeviceError, match=r"DLPack type 10; allowed: the CPU \(1\), NVIDIA's GPUs \(2\)"):
        view_of(Elsewhere(10))
