"""Crop kernel on one GPU, with its buffers for transforms."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..closing import Closing
from ..errors import NasionError, RuntimeUnavailable
from ..gpu.device import Device, Memory, MemorySlice, Pinned, Stream
from ..spec import Spec
from .bindings import DeviceImage, Kernels
from .compiled_crop import CompiledCrop

Crops = tuple[DeviceImage, NDArray[np.float32]]
"""An image, and transforms (k, 2, 3) from pixels of crops to its pixels."""
_PLAIN = Spec("landmarks", "as it is", (1, 1), channels="bgr", std=(1.0, 1.0, 1.0))


class Cropper(Closing):
    """Crop kernel on one GPU. Thread-safe.

    Attributes:
        name: name of the GPU, ``cuda:N``.
        device: the GPU.
    """

    def __init__(self, number: int) -> None:
        """Load the kernels and open ``cuda:number``.

        Raises:
            RuntimeUnavailable: the kernels are not built, and NVRTC is not installed, which would compile them.
            DeviceError: there is no such GPU.
        """
        self.device = Device(number)
        self._kernels = _kernels(self.device)
        self.name = f"cuda:{number}"
        self._idle: deque[CropBuffers] = deque()

    @contextmanager
    def buffers(self) -> Iterator[CropBuffers]:
        """Lend buffers to one thread, which must wait for the GPU before it leaves the ``with`` block."""
        try:
            buffers = self._idle.pop()
        except IndexError:
            buffers = CropBuffers(self.device, self._kernels)
        try:
            yield buffers
        finally:
            self._idle.append(buffers)

    def fetch(self, image: DeviceImage, transforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return BGR (k, 3) in 0..255 of single pixels, given their ``transforms`` (k, 2, 3)."""
        with self.device.current(), self.buffers() as buffers:
            return buffers.fetch(image, transforms)

    def close(self) -> None:
        """Free all memory. Images on this GPU cannot be cropped any more."""
        self._idle.clear()
        if isinstance(self._kernels, CompiledCrop):
            self._kernels.close()
        self.device.close()


def _kernels(device: Device) -> Kernels | CompiledCrop:
    """Return the kernels of ``nasion plugins build``; where there are none, the crop kernel compiled by NVRTC.

    Raises:
        RuntimeUnavailable: there is neither.
    """
    try:
        return Kernels()
    except RuntimeUnavailable as error:
        try:
            return CompiledCrop(device)
        except RuntimeUnavailable as missing:
            device.close()
            raise RuntimeUnavailable(f"{missing}; or compile the kernels yourself ({error})") from missing
        except NasionError:
            device.close()
            raise


@cache
def cropper(number: int) -> Cropper:
    """Return the shared ``Cropper`` of GPU ``cuda:number``.

    It lives until the process ends, because frames in the memory of its context live as long as their last owner.

    Raises:
        RuntimeUnavailable: the kernels are not built, and NVRTC is not installed.
        DeviceError: there is no such GPU.
    """
    return Cropper(number)


class CropBuffers:
    """Buffers for launches of the kernel: the transforms from crops to images, in GPU memory."""

    def __init__(self, device: Device, kernels: Kernels | CompiledCrop) -> None:
        """Create empty buffers; memory is allocated on first use."""
        self._device, self._kernels = device, kernels
        self._transforms: tuple[Pinned, Memory] | None = None
        self._stream: Stream | None = None
        self._fetched: NDArray[np.float32] | None = None  # the transforms that are in ``_points``
        self._points: tuple[Pinned, Memory] | None = None
        self._found: tuple[Pinned, Memory] | None = None

    def crop(self, parts: Sequence[Crops], memory: Memory, stream: Stream, spec: Spec) -> None:
        """Enqueue the kernel, once for each image, that writes normalised crops (k, 3, height, width) to memory.

        Args:
            parts: images, each with transforms (k, 2, 3) from pixels of a crop to pixels of the image. Read before the
                call returns; crops are written in this order.
            memory: output (at least as many as all crops, 3, height, width), float32 or float16.
            stream: stream to enqueue on.
            spec: spec of the network that will read the memory.
        """
        ways = parts[0][1] if len(parts) == 1 else np.concatenate([ways for _, ways in parts])
        self._transforms = self._room(self._transforms, ways.shape)
        _upload(ways, self._transforms, stream)
        there, at = self._transforms[1], 0
        for image, ways in parts:
            end = at + len(ways)
            self._launch(image, there.part(at, end), memory.part(at, end), stream, spec)
            at = end

    def fetch(self, image: DeviceImage, transforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return crops of one pixel each, (k, 3), in host memory.

        The transforms are uploaded only if they are another array than the last ones, which must not have changed.
        """
        self._stream = self._stream or self._device.stream()
        if self._points is None or transforms is not self._fetched:
            self._points = self._room(self._points, transforms.shape)
            _upload(transforms, self._points, self._stream)
            self._fetched = transforms
        self._found = self._room(self._found, (len(transforms), 3, 1, 1))
        pinned, there = self._found
        count = len(transforms)
        self._launch(image, self._points[1].part(0, count), there.part(0, count), self._stream, _PLAIN)
        part = pinned.array[:count]
        self._stream.download(there, part)
        self._stream.wait()
        return part.reshape(-1, 3).copy()

    def _launch(
        self, image: DeviceImage, transforms: MemorySlice, memory: MemorySlice, stream: Stream, spec: Spec
    ) -> None:
        self._kernels.crop(
            image, transforms.address, count=transforms.shape[0], height=memory.shape[2], width=memory.shape[3],
            output=memory.address, mean=spec.mean, std=spec.std, rgb=spec.channels == "rgb",
            half=memory.dtype == np.float16, stream=stream.handle,
        )  # fmt: skip

    def _room(self, held: tuple[Pinned, Memory] | None, shape: tuple[int, ...]) -> tuple[Pinned, Memory]:
        """Return pinned and GPU memory for a float32 array of ``shape``; reuse ``held`` if it is large enough."""
        if held is not None and held[0].array.shape[0] >= shape[0]:
            return held
        for each in held or ():
            each.close()
        shape = 1 << (shape[0] - 1).bit_length(), *shape[1:]
        return self._device.pinned(shape, np.float32), self._device.memory(shape, np.float32)


def _upload(values: NDArray[np.float32], to: tuple[Pinned, Memory], stream: Stream) -> None:
    """Enqueue a copy of an array to the GPU, through pinned memory."""
    pinned, there = to
    part = pinned.array[: len(values)]
    part[...] = values
    stream.upload(part, there)
