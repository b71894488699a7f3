"""Python bindings of a compiled operator library.

Addresses are plain integers: of device memory for the ``kernels``, of host memory for the ``reference``. A ``torch``
tensor (``data_ptr()``), a pycuda allocation (``int(...)``) and a NumPy array (``ctypes.data``) therefore all work.
Calls enqueue work on a stream and return; they never wait, allocate or copy. The caller keeps the memory alive.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_float, c_int, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import NasionError
from . import library as plugins

Format = Literal["bgr", "nv12"]
_FORMATS = {"bgr": 0, "nv12": 1}


class _Level(ctypes.Structure):
    _fields_ = (
        ("data", c_void_p), ("channels", c_int), ("height", c_int), ("width", c_int), ("scale", c_float),
    )  # fmt: skip


class _RoIAlign(ctypes.Structure):
    _fields_ = (
        ("levels", POINTER(_Level)), ("level_count", c_int), ("batch", c_int), ("rois", c_void_p), ("regions", c_int),
        ("size", c_int), ("sampling", c_int), ("normalize", c_int), ("epsilon", c_float), ("half", c_int),
        ("channels_last", c_int), ("output", c_void_p),
    )  # fmt: skip


class _Reweight(ctypes.Structure):
    _fields_ = (
        ("maps", c_void_p), ("regions", c_int), ("points", c_int), ("height", c_int), ("width", c_int),
        ("threshold", c_float), ("half", c_int), ("places", c_void_p), ("confidence", c_void_p),
    )  # fmt: skip


class _Frame(ctypes.Structure):
    _fields_ = (
        ("planes", c_void_p * 2), ("pitches", c_int * 2), ("width", c_int), ("height", c_int), ("format", c_int),
        ("colour", c_float * 12),
    )  # fmt: skip


class _Crops(ctypes.Structure):
    _fields_ = (
        ("frame", _Frame), ("transforms", c_void_p), ("count", c_int), ("height", c_int), ("width", c_int),
        ("mean", c_float * 3), ("scale", c_float * 3), ("rgb", c_int), ("half", c_int), ("output", c_void_p),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Level:
    """A feature map.

    Attributes:
        address: address of (B, channels, height, width), or of channels-last data.
        channels, height, width: size of the map.
        scale: cells per pixel of the image.
    """

    address: int
    channels: int
    height: int
    width: int
    scale: float


@dataclass(frozen=True, slots=True)
class DeviceImage:
    """A frame in memory.

    Attributes:
        planes: address of the BGR pixels; for NV12, addresses of luma and of chroma (U, V).
        pitches: bytes from one row to the next, for each plane.
        width, height: size in pixels; even for NV12.
        format: pixel format.
        colour: 12 numbers, the rows of ``reference.yuv_to_bgr``; for NV12 only.
    """

    planes: tuple[int, ...]
    pitches: tuple[int, ...]
    width: int
    height: int
    format: Format = "bgr"
    colour: tuple[float, ...] = ()


class KernelError(NasionError):
    """A kernel that rejected its arguments or could not be launched."""


class Kernels:
    """Operators of a library. Stateless and thread-safe.

    Attributes:
        path: path of the library.
        reference: True for the plain C++ library, which works on host memory and ignores streams.
    """

    def __init__(self, path: Path | None = None, *, reference: bool = False) -> None:
        """Load a library (default: the one built by ``nasion plugins build``).

        Raises:
            RuntimeUnavailable: the library is not built or cannot be loaded.
        """
        self.path, self.reference = path or plugins.locate("reference" if reference else "kernels"), reference
        self._library = plugins.load(self.path)
        self._library.nasion_status_text.restype = c_char_p

    def multi_level_roi_align(
        self,
        levels: Sequence[Level],
        *,
        batch: int,
        rois: int,
        regions: int,
        output: int,
        output_size: int,
        sampling_ratio: int = 2,
        normalize: bool = True,
        epsilon: float = 1e-12,
        half: bool = False,
        channels_last: bool = False,
        stream: int = 0,
    ) -> None:
        """Run ``reference.multi_level_roi_align``.

        Args:
            levels: feature maps.
            batch: number of images of each map.
            rois: address of (regions, 5) float32.
            regions: number of regions; 0 is allowed.
            output: address of (regions, channels, output_size, output_size), or of channels-last data.
            output_size, sampling_ratio, normalize, epsilon: as in the reference.
            half: maps and output are float16, else float32.
            channels_last: layout of maps and output; channels must then be a multiple of 8 (float16) or 4 (float32).
            stream: handle of a CUDA stream.

        Raises:
            KernelError: the arguments are invalid, or the launch failed.
        """
        table = (_Level * len(levels))(
            *(_Level(each.address, each.channels, each.height, each.width, each.scale) for each in levels)
        )
        arguments = _RoIAlign(
            table, len(levels), batch, rois, regions, output_size, sampling_ratio, normalize, epsilon, half,
            channels_last, output,
        )  # fmt: skip
        self._call("nasion_multi_level_roi_align", arguments, stream)

    def location_reweight(
        self,
        maps: int,
        shape: tuple[int, int, int, int],
        *,
        points: int,
        confidence: int,
        threshold: float = 0.5,
        half: bool = False,
        stream: int = 0,
    ) -> None:
        """Run ``reference.location_reweight``.

        Args:
            maps: address of (K, n, H, W).
            shape: K, n, H, W.
            points: address of (K, n, 2) float32.
            confidence: address of (K, n) float32.
            threshold: as in the reference; above 0.
            half: maps are float16, else float32.
            stream: handle of a CUDA stream.

        Raises:
            KernelError: the arguments are invalid, or the launch failed.
        """
        self._call("nasion_location_reweight", _Reweight(maps, *shape, threshold, half, points, confidence), stream)

    def crop(
        self,
        image: DeviceImage,
        transforms: int,
        *,
        count: int,
        height: int,
        width: int,
        output: int,
        mean: Sequence[float] = (0, 0, 0),
        std: Sequence[float] = (1, 1, 1),
        rgb: bool = False,
        half: bool = False,
        stream: int = 0,
    ) -> None:
        """Run ``reference.crop`` on the frame ``image``.

        Args:
            transforms: address of (count, 2, 3) float32, which map pixels of a crop to pixels of the frame.
            count: number of crops; 0 is allowed.
            height, width: size of a crop in pixels.
            output: address of (count, 3, height, width).
            mean, std, rgb: as in the reference.
            half: output is float16, else float32.
            stream: handle of a CUDA stream.

        Raises:
            KernelError: the arguments are invalid, or the launch failed.
        """
        if not all(std):
            raise KernelError(f"nasion_crop: a std of 0 in {tuple(std)} cannot be divided by")
        frame = _Frame(
            (c_void_p * 2)(*image.planes), (c_int * 2)(*image.pitches), image.width, image.height,
            _FORMATS[image.format], (c_float * 12)(*image.colour),
        )  # fmt: skip
        arguments = _Crops(
            frame, transforms, count, height, width, (c_float * 3)(*mean), (c_float * 3)(*(1 / each for each in std)),
            rgb, half, output,
        )  # fmt: skip
        self._call("nasion_crop", arguments, stream)

    def _call(self, name: str, arguments: ctypes.Structure, stream: int) -> None:
        rest: tuple[Any, ...] = () if self.reference else (c_void_p(stream),)
        entry = getattr(self._library, f"{name}_reference" if self.reference else name)
        status: int = entry(ctypes.byref(arguments), *rest)
        if status:
            said = self._library.nasion_status_text(status)
            raise KernelError(f"{name}: {said.decode()} (status {status})")
