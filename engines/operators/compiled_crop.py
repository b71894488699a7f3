"""Crop kernel compiled by NVRTC at its first use on a GPU, for machines without nvcc."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from ctypes import c_bool, c_float, c_int, c_void_p

from ..gpu.device import Device
from ..gpu.nvrtc import Program, compiled
from .bindings import DeviceImage, KernelError
from .library import SOURCES

_COLUMNS, _ROWS, _DEEP = 32, 8, 4  # kColumns, kRows and kDeep of crop.cuh
_MOST_CROPS, _MOST_PIXELS = 65535, 32768  # limits of crop.h


class Inputs(ctypes.Structure):
    """The first argument of the kernel, ``CropInputs`` of crop.cuh."""

    _fields_ = (
        ("first", c_void_p), ("second", c_void_p), ("first_pitch", c_int), ("second_pitch", c_int),
        ("frame_width", c_int), ("frame_height", c_int), ("right", c_float), ("bottom", c_float),
        ("colour", c_float * 12), ("transforms", c_void_p), ("height", c_int), ("width", c_int),
        ("scale", c_float * 3), ("shift", c_float * 3), ("rgb", c_bool),
    )  # fmt: skip


def kernel_name(source: str, dtype: str) -> str:
    """Return the C++ name of the kernel for a source, such as ``nv12``, and an output, ``float`` or ``__half``."""
    return f"nasion::cropping::crops<nasion::cropping::Source::{source}, {dtype}>"


def program() -> Program:
    """Return the source of the kernel, with the headers that NVRTC lacks."""
    return Program(
        name="crop.cuh",
        source=(SOURCES / "crop" / "crop.cuh").read_text(),
        headers={
            "common/numbers.cuh": (SOURCES / "common" / "numbers.cuh").read_text(),
            "cuda_fp16.h": (SOURCES / "nvrtc" / "cuda_fp16.h").read_text(),
            "cstdint": (SOURCES / "nvrtc" / "cstdint.h").read_text(),
        },
        kernels=[
            kernel_name(source, dtype) for source in ("bgr_bytes", "bgr_words", "nv12") for dtype in ("float", "__half")
        ],
    )


class CompiledCrop:
    """Crop kernel on one GPU; ``crop`` is that of ``Kernels``."""

    def __init__(self, device: Device) -> None:
        """Load the kernel for ``device``, from the cache or compiled now, which takes a few seconds.

        Raises:
            RuntimeUnavailable: NVRTC is not installed.
            NasionError: the compiler failed.
        """
        code = compiled(program(), device.gpu.capability)
        self._device = device
        with device.current() as driver:
            self._module = driver.load(code.image)
            self._kernels = {name: driver.kernel(self._module, symbol) for name, symbol in code.symbols.items()}

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
        """Enqueue the kernel; arguments and errors as in ``Kernels.crop``. The device must be current."""
        _check(image, count, height, width, mean, std)
        if not count:
            return
        nv12 = image.format == "nv12"
        words = all(number % 4 == 0 for number in (image.planes[0], image.pitches[0]))
        source = "nv12" if nv12 else "bgr_words" if words else "bgr_bytes"
        order = (2, 1, 0) if rgb else (0, 1, 2)  # of blue, green and red among the channels
        scale = [c_float(1 / std[channel]).value for channel in order]
        shift = [-c_float(mean[channel]).value * each for channel, each in zip(order, scale, strict=True)]
        inputs = Inputs(
            image.planes[0], image.planes[1] if nv12 else None, image.pitches[0], image.pitches[1] if nv12 else 0,
            image.width, image.height, image.width - 1, image.height - 1, (c_float * 12)(*image.colour), transforms,
            height, width, (c_float * 3)(*scale), (c_float * 3)(*shift), rgb,
        )  # fmt: skip
        grid = -(-width // _COLUMNS), -(-height // (_ROWS * _DEEP)), count
        kernel = self._kernels[kernel_name(source, "__half" if half else "float")]
        with self._device.current() as driver:
            driver.run_kernel(kernel, grid, (_COLUMNS, _ROWS), (inputs, c_void_p(output)), stream)

    def close(self) -> None:
        """Free the kernel. Further calls do nothing."""
        module, self._module = self._module, 0
        if module:
            with self._device.current() as driver:
                driver.unload(module)


def _check(
    image: DeviceImage, count: int, height: int, width: int, mean: Sequence[float], std: Sequence[float]
) -> None:
    """Check what ``nasion_crop`` checks, as far as a caller can get it wrong.

    Raises:
        KernelError: an argument is not allowed.
    """
    if not 0 <= count <= _MOST_CROPS:
        raise KernelError(f"crop: {count} crops at once; allowed: 0 to {_MOST_CROPS}")
    sides, nv12 = (height, width, image.height, image.width), image.format == "nv12"
    if not (min(height, width) >= 1 and min(image.height, image.width) >= 2 and max(sides) <= _MOST_PIXELS):
        raise KernelError(
            f"crop: {width}x{height} pixels of an image of {image.width}x{image.height}; allowed: sides up to "
            f"{_MOST_PIXELS}, from 2 on for the image"
        )
    if nv12 and (image.width % 2 or image.height % 2):
        raise KernelError(f"crop: an NV12 image of {image.width}x{image.height}; its sides must be even")
    least = image.width if nv12 else 3 * image.width
    if min(image.pitches) < least or (nv12 and image.pitches[1] % 2):
        raise KernelError(f"crop: rows of {image.pitches} bytes are too short for {image.width} pixels, or odd")
    if not all(math.isfinite(each) for each in (*mean, *image.colour)) or not all(0 < each < math.inf for each in std):
        raise KernelError(
            f"crop: mean {tuple(mean)}, std {tuple(std)}; they and the colours must be finite, std above 0"
        )
